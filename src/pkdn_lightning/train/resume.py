"""How a run folder is opened for a new run, and for one that is resumed."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pkdn_lightning.config.schema import TrainConfig
from pkdn_lightning.config.training_keys import affects_training, flatten
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import write_json, write_text
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.runs import RunFolder, RunStatus, open_run, trim_metrics

_AUTO_KEYS: Final = ("teacher.checkpoint", "trainer.precision")
"""Keys that may be `auto`; a run folder holds the value that was found."""
_NAMING: Final = ("experiment", "method", "size")
"""Keys that a run's name is made of; a resumed run keeps them."""


def saved_config(run_dir: str, overrides: Sequence[str]) -> DictConfig:
    """Returns the configuration of a run to be resumed, with the changes of the command line.

    Args:
        run_dir: The run folder.
        overrides: `key=value`s of the command line; a run keeps its groups.

    Raises:
        CheckpointError: If there is no run, or it cannot be resumed.
        ConfigError: If an override does not name a key.
    """
    run = open_run(run_dir)
    if run.finished and not any(override.startswith("trainer.") for override in overrides):
        raise CheckpointError(
            f"The run {run_dir} is finished; there is nothing to resume. To train it further, raise its length: "
            "trainer.max_steps=... or trainer.max_epochs=..."
        )
    if not run.last.is_file():
        raise CheckpointError(f"The run {run_dir} stopped before its first checkpoint. Start it again.")
    cfg = _saved(run)
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in ("resume", "run_dir"):
            continue
        try:
            if key in _NAMING or OmegaConf.is_config(OmegaConf.select(cfg, key, throw_on_missing=False)):
                raise ConfigError(f"{override}: a resumed run keeps its {key}. Start a new run to change it.")
            OmegaConf.update(cfg, key, OmegaConf.create({"value": value}).value, force_add=False)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{override}: {str(error).splitlines()[0]}") from error
    cfg.resume = cfg.run_dir = str(run.path)
    return cfg


def check_same_run(run: RunFolder, cfg: DictConfig) -> None:
    """Checks that the run in a folder, if there is one, is the one that `cfg` describes.

    Raises:
        ConfigError: If they differ in a key that affects training.
    """
    if not run.config.is_file():
        return
    saved, wanted = (_training_values(each) for each in (_saved(run), cfg))
    for key in _AUTO_KEYS:
        if wanted[key] == "auto":
            saved[key] = "auto"
    differing = [key for key in sorted(saved.keys() | wanted.keys()) if saved.get(key) != wanted.get(key)]
    if differing:
        shown = ", ".join(f"{key}={saved.get(key)} instead of {wanted.get(key)}" for key in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ConfigError(
            f"{run.path} holds another run, which is kept: it has {shown}{more}.\n"
            "Give this sweep another folder: hydra.sweep.dir=<folder>"
        )


def _saved(run: RunFolder) -> DictConfig:
    """Returns the configuration in a run folder, completed with current defaults."""
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.load(run.config))
    assert isinstance(cfg, DictConfig)
    return cfg


def _training_values(config: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain["data"]["store"] = str(Path(plain["data"]["store"]).resolve())
    return {key: value for key, value in flatten(plain) if affects_training(key)}


def resuming_config(run: RunFolder, cfg: DictConfig) -> DictConfig:
    """Returns `cfg` set to resume its run, with the values that `auto` stood for when the run started."""
    cfg, saved = deepcopy(cfg), _saved(run)
    cfg.resume = str(run.path)
    for key in _AUTO_KEYS:
        OmegaConf.update(cfg, key, OmegaConf.select(saved, key))
    return cfg


def clear_run_folder(run: RunFolder) -> None:
    """Removes the files of a run that stopped before its first checkpoint."""
    for file in (*run.checkpoints.glob("*.ckpt*"), *run.grids.glob("*.png"), run.metrics, run.results):
        file.unlink(missing_ok=True)
    for folder in (run.checkpoints, run.grids):
        with contextlib.suppress(OSError):
            folder.rmdir()


def open_run_folder(
    run: RunFolder, cfg: DictConfig, record: Mapping[str, Any], resumed: Path | None
) -> Mapping[str, Any]:
    """Writes configuration and record before the first step, and keeps what a resumed run has written before.

    Args:
        run: The run folder.
        cfg: The configuration; it is saved fully resolved.
        record: Provenance.
        resumed: The checkpoint to resume from, or None for a new run.

    Returns:
        The record as saved: a resumed run keeps its id, its first command and its start time.

    Raises:
        ConfigError: If a new run would overwrite an old one.
        CheckpointError: If data or teacher of a resumed run are not those it started with.
    """
    failed = run.read_results().get("status") == RunStatus.FAILED
    if resumed is None and (run.last.is_file() or (run.best.is_file() and not failed)):
        raise ConfigError(
            f"{run.path} holds a run already, which is kept. Resume it: pkdn train resume={run.path}\n"
            "or choose another folder: run_dir=..."
        )
    if resumed is None:
        clear_run_folder(run)
    elif not run.finished:
        run.results.unlink(missing_ok=True)  # the status of the previous session
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    if resumed is not None:
        previous = json.loads(run.provenance.read_text(encoding="utf-8"))
        for key in ("data", "teacher"):
            if previous.get(key) != record[key]:
                raise CheckpointError(
                    f"The run {run.path} started with {key} {previous.get(key)}; resuming would use {record[key]}.\n"
                    f"Restore the {key} it started with, or start a new run."
                )
        trim_metrics(run.metrics, read_checkpoint(resumed)["global_step"])
        session = {key: record[key] for key in ("command", "started", "git")}
        kept = {key: previous[key] for key in ("id", "command", "started") if key in previous}
        record = {**record, **kept, "resumed": [*previous.get("resumed", []), session]}
    saved = deepcopy(cfg)
    saved.resume = None
    if record["teacher"] is not None:  # resuming must not find a newer teacher
        saved.teacher.checkpoint = record["teacher"]["path"]
    write_text(run.config, OmegaConf.to_yaml(saved, resolve=True))
    write_json(run.provenance, record)
    return record
