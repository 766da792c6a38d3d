"""`python -m pkdn_lightning.prepare`: the same as `pkdn prepare`."""

from pkdn_lightning.prepare import main

if __name__ == "__main__":
    main()
