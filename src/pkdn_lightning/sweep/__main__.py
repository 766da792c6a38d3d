"""`python -m pkdn_lightning.sweep`: the same as `pkdn sweep`."""

from pkdn_lightning.sweep import main

if __name__ == "__main__":
    main()
