"""The configuration of a run, read from its folder: checked, and completed with the defaults of today."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # what OmegaConf reads with; it ships no types

from pkdn_lightning.config.schema import TermConfig, TrainConfig
from pkdn_lightning.data.labels import ENCODINGS
from pkdn_lightning.data.strengths import ROUNDS
from pkdn_lightning.errors import CheckpointError, DataError
from pkdn_lightning.file_schema import check_contents
from pkdn_lightning.functional.modes import MODES
from pkdn_lightning.models.checkpoints import network_class
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.trust import DOTTED_NAME

_NEEDED: Final = {"data": dict, "trainer": dict, "module": dict, "model": dict, "seed": int}
"""What has no default; see `file_schema`."""
_CONFIG: Final = {
    "seed": int,
    "method": str,
    "data": {
        "name": str, "store": str, "scale": range(1, 65), "degradation": (*MODES, *ROUNDS, DOTTED_NAME),
        "encoding": ENCODINGS, "batch_size": range(1, 2**31), "test_stores": ({str: str}, None), "heatmaps": str,
    },
    "trainer": {
        "accumulate_grad_batches": range(1, 2**31), "num_nodes": range(1, 2**31), "max_steps": (int, None),
        "max_epochs": (int, None),
    },
    "module": dict,
    "model": {"_target_": str},
    "teacher": {"model": (dict, None), "max_steps": (int, None), "max_epochs": (int, None)},
    "objective": {str: {"weight": float, "term": dict}},
}  # fmt: skip
"""What is read of a run's config.yaml."""


def read_config(run: RunFolder) -> dict[str, Any]:
    """Returns a run's configuration, with the defaults of what it does not name.

    Raises:
        DataError: If it cannot be read, lacks something or holds a wrong value.
    """
    origin = "its config.yaml"
    try:
        saved: Any = OmegaConf.to_container(OmegaConf.load(run.config))  # it was saved resolved
        check_contents(saved, _NEEDED, origin, DataError)
        config: Any = OmegaConf.to_container(OmegaConf.merge(asdict(TrainConfig()), saved))
    except (OSError, YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise DataError("its config.yaml is missing or cannot be read") from error
    check_contents(config, {"objective": {str: dict}}, origin, DataError)
    config["objective"] = {name: asdict(TermConfig()) | term for name, term in config["objective"].items()}
    check_contents(config, _CONFIG, origin, DataError)
    config["model"] = completed(config["model"])
    return config


def completed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network's `_target_` and arguments with the defaults of those that are not given.

    Without them, a run from before an option existed would not equal a newer run of the same settings.
    """
    network = known_network(spec)
    if network is None:
        return dict(spec)
    parameters = inspect.signature(network).parameters
    defaults = {each.name: each.default for each in parameters.values() if each.default is not inspect.Parameter.empty}
    given = {name: value for name, value in spec.items() if value is not None or name in parameters}
    return {**defaults, **given, "_target_": f"{network.__module__}.{network.__qualname__}"}


def known_network(spec: Mapping[str, Any]) -> type[SRNetwork] | None:
    """Returns the class of a network; None for one that a mere file must not import."""
    try:
        return network_class(str(spec["_target_"]), Path("config.yaml"))
    except CheckpointError:
        return None
