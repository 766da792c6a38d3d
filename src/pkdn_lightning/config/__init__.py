"""Configuration: what may be configured (`schema`), computed values (`resolvers`), and objects made from it (`build`).

`compose` and `conf_dir` need no torch; only `build` does.
"""

from pkdn_lightning.config.compose import compose, conf_dir

__all__ = ["compose", "conf_dir"]
