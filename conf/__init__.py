"""The Hydra tree as a package: `hydra.initialize_config_module("pkdn_lightning.conf")`."""

from pkdn_lightning.config.tree import register

register()
