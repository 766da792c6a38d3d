"""What an experiment sets for its own network, module or objective, where another one is chosen next to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import hydra
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config.training_keys import flatten, within
from pkdn_lightning.config.tree import options
from pkdn_lightning.errors import ConfigError

_PARTS: Final = ("model", "objective")
"""Parts whose keys depend on the option chosen."""


def check_deltas(verb: str, cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Checks that what an experiment sets fits the options that were typed instead of its own.

    To be called where Hydra is initialised.

    Raises:
        ConfigError: If the experiment sets keys that a typed option does not have; the message names its file.
    """
    typed = dict(override.partition("=")[::2] for override in overrides)
    experiment, replaced = typed.get("experiment"), [part for part in _PARTS if part in typed]
    if verb != "train" or experiment not in options("experiment") or not replaced:
        return
    file = options("experiment")[experiment]
    own = [name.lstrip("+") for name in typed if "." in name]
    foreign = sorted(key for key in _set_by(file) & _keys(cfg, replaced) if not within(key, own))
    if foreign:  # composing takes as long as all of it; few experiments set such keys
        bare = _keys(hydra.compose(verb, overrides=[each for each in overrides if _is_choice(each)]), replaced)
        foreign = [key for key in foreign if key not in bare]
    if foreign:
        chosen = " ".join(f"{group}={typed[group]}" for group in replaced)
        removed = " ".join(f"'~{key}'" for key in foreign)
        raise ConfigError(
            f"experiment={experiment} sets {', '.join(foreign)} ({_shown(file)}), which {chosen} lacks.\n"
            f"Leave them out: pkdn {verb} experiment={experiment} {chosen} {removed}\n"
            "or write an experiment for it: a copy of that file with another name in conf/experiment/."
        )


def _is_choice(override: str) -> bool:
    """Returns whether an override chooses an option of a group, other than an experiment."""
    key, _, value = override.partition("=")
    return key != "experiment" and value in options(key)


def _keys(cfg: DictConfig, parts: Sequence[str]) -> set[str]:
    """Returns the keys of parts: a network's arguments, which its file lists, and an objective's terms."""
    plain: Any = OmegaConf.to_container(cfg, resolve=False)
    return {_shortened(key) for part in parts for key, _ in flatten(plain[part], f"{part}.")}


def _shortened(key: str) -> str:
    return ".".join(key.split(".")[:2]) if key.startswith("objective.") else key


def _set_by(file: Path) -> set[str]:
    """Returns the keys that an experiment's file sets, and those of the experiments that it begins with."""
    content: Any = OmegaConf.to_container(OmegaConf.load(file))
    names = [each for each in content.pop("defaults", ()) if isinstance(each, str) and each != "_self_"]
    inherited = (_set_by(options("experiment")[name]) for name in names if name in options("experiment"))
    return {_shortened(key) for key, _ in flatten(content)}.union(*inherited)


def _shown(file: Path) -> str:
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else f"conf/experiment/{file.name}"
