"""Configuration: its keys (`schema`), computed values (`resolvers`), and the objects it describes (`instances`).

Nothing here imports torch until an object is instantiated.
"""

from pkdn_lightning.config.compose import compose, data_and_size
from pkdn_lightning.trust import conf_dir

__all__ = ["compose", "conf_dir", "data_and_size"]
