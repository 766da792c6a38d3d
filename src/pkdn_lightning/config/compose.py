"""Finds the Hydra tree, and composes configurations from Python as the command line does."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from pkdn_lightning.config.resolvers import register_resolvers
from pkdn_lightning.config.schema import register_schemas


def conf_dir() -> Path:
    """Returns the folder of the Hydra tree: inside the installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def verb_dir(verb: str) -> Path:
    """Returns the folder of a verb's file.

    The verbs that use a trained model have a folder of their own, without groups: there `model=runs/...` is a path,
    where the root has a group of that name.
    """
    using = conf_dir() / "using"
    return using if (using / f"{verb}.yaml").is_file() else conf_dir()


def compose(verb: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Returns the configuration of a verb, as `pkdn <verb> <overrides>` would compose it.

    Args:
        verb: Name of a file at the root of the tree or in `using/`, e.g. `train`.
        overrides: Hydra overrides, e.g. `["experiment=demo", "seed=1"]`. Set `run_dir` to use the result for a run.

    Example:
        >>> compose("train", ["experiment=student_celeba"]).objective.ts.weight
        0.1
    """
    import hydra

    register_resolvers()
    register_schemas()
    with hydra.initialize_config_dir(config_dir=str(verb_dir(verb)), version_base="1.3"):
        return hydra.compose(verb, overrides=list(overrides))
