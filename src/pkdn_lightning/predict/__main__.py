"""`python -m pkdn_lightning.predict`: the same as `pkdn predict`."""

from pkdn_lightning.predict import main

if __name__ == "__main__":
    main()
