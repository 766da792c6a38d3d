"""`python -m pkdn_lightning.demo`: the same as `pkdn demo`."""

from pkdn_lightning.demo import main

if __name__ == "__main__":
    main()
