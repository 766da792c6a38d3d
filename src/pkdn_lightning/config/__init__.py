"""Configuration: what may be configured (`schema`), computed values (`resolvers`), objects made from it (`instances`).

Nothing here imports torch until an object is made.
"""

from pkdn_lightning.config.compose import compose, conf_dir

__all__ = ["compose", "conf_dir"]
