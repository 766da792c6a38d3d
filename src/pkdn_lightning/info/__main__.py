"""`python -m pkdn_lightning.info`: the same as `pkdn info`."""

from pkdn_lightning.info import main

if __name__ == "__main__":
    main()
