"""`python -m pkdn_lightning.evaluate`: the same as `pkdn evaluate`."""

from pkdn_lightning.evaluate import main

if __name__ == "__main__":
    main()
