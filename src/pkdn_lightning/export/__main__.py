"""`python -m pkdn_lightning.export`: the same as `pkdn export`."""

from pkdn_lightning.export import main

if __name__ == "__main__":
    main()
