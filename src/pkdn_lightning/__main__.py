"""`python -m pkdn_lightning <verb>`: the same as `pkdn <verb>`."""

from pkdn_lightning.cli import main

main()
