"""`python -m pkdn_lightning.train`: the same as `pkdn train`."""

from pkdn_lightning.train import main

if __name__ == "__main__":
    main()
