"""`python -m pkdn_lightning.report`: the same as `pkdn report`."""

from pkdn_lightning.report import main

if __name__ == "__main__":
    main()
