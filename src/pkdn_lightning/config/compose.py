"""Finds the Hydra tree, and composes configurations from Python as the command line does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pkdn_lightning.config.deltas import check_deltas
from pkdn_lightning.config.instances import trust_targets
from pkdn_lightning.config.keys import check_config
from pkdn_lightning.config.tree import check_own_names, options, register
from pkdn_lightning.trust import conf_dir


def verb_dir(verb: str) -> Path:
    """Returns the folder of a verb's file.

    The verbs that use a trained model are in `inference/`, which has no groups: there `model=runs/...` is a path, while
    at the root `model` is a group.
    """
    inference = conf_dir() / "inference"
    return inference if (inference / f"{verb}.yaml").is_file() else conf_dir()


def data_and_size(cfg: Mapping[str, Any]) -> list[str]:
    """Returns the overrides that, next to `experiment=<method>`, choose the data and the size of a configuration.

    Example:
        >>> data_and_size(compose("train", ["experiment=sparnet", "size=reduced"]))
        ['data=celeba', 'size=reduced']
    """
    name, store = cfg["data"]["name"], cfg["data"]["store"]
    data = [f"data={name}"] if name in options("data") else [f"data.name={name}", f"data.store={store}"]
    return data if cfg["size"] == "full" else [*data, f"size={cfg['size']}"]


def compose(verb: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Returns the configuration of a verb, as `pkdn <verb> <overrides>` would compose it.

    Args:
        verb: Name of a file at the root of the tree or in `inference/`, e.g. `train`.
        overrides: Hydra overrides, e.g. `["experiment=demo", "seed=1"]`. Set `run_dir` to use the result for a run. The
            user's own `conf/` in the current folder is part of the tree.

    Raises:
        ConfigError: If a value is out of range, or none of the choices.

    Example:
        >>> compose("train", ["experiment=student_celeba"]).objective.ts.weight
        0.1
    """
    import hydra

    register(verb)
    check_own_names(overrides)
    with hydra.initialize_config_dir(config_dir=str(verb_dir(verb)), version_base="1.3"):
        cfg = hydra.compose(verb, overrides=list(overrides))
        check_deltas(verb, cfg, overrides)
    check_config(verb, cfg)
    trust_targets(cfg)
    return cfg
