"""Beginning a run folder, and going on in one."""

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
from pkdn_lightning.files import write_json
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.runs import RunFolder, open_run, trim_metrics
from pkdn_lightning.train.callbacks.pruning import RUNGS

_FOUND: Final = ("teacher.checkpoint", "trainer.precision")
"""Keys that may be `auto`: a run folder has what that came to."""
_NAMING: Final = ("experiment", "method", "size")
"""Keys that a run's name is made of, which it keeps."""


def saved_config(run_dir: str, overrides: Sequence[str]) -> DictConfig:
    """Returns the configuration of a run to be resumed, with what the command line changes of it.

    Args:
        run_dir: The run folder.
        overrides: The command line's `key=value`s; groups cannot be changed in a run that has begun.

    Raises:
        CheckpointError: If there is no run, or none that can go on.
        ConfigError: If an override does not name a key.
    """
    run = open_run(run_dir)
    if run.finished and not any(override.startswith("trainer.") for override in overrides):
        raise CheckpointError(
            f"The run {run_dir} is finished; there is nothing to resume. To train it further, raise its length: "
            "trainer.max_steps=... or trainer.max_epochs=..."
        )
    if not run.last.is_file():
        raise CheckpointError(f"The run {run_dir} stopped before its first checkpoint. Start it anew.")
    cfg = _saved(run)
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in ("resume", "run_dir"):
            continue
        try:
            if key in _NAMING or OmegaConf.is_config(OmegaConf.select(cfg, key, throw_on_missing=False)):
                raise ConfigError(f"{override}: a run that has begun keeps its {key}. Start a new one for another.")
            OmegaConf.update(cfg, key, OmegaConf.create({"value": value}).value, force_add=False)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{override}: {str(error).splitlines()[0]}") from error
    cfg.resume = cfg.run_dir = str(run.path)
    return cfg


def check_same_run(run: RunFolder, cfg: DictConfig) -> None:
    """Checks that a folder that holds a run already holds the one that `cfg` describes.

    Raises:
        ConfigError: If what was trained there differs in anything that changes what is learned.
    """
    if not run.config.is_file():
        return
    saved, wanted = (_learned(each) for each in (_saved(run), cfg))
    for key in _FOUND:
        if wanted[key] == "auto":
            saved[key] = "auto"
    differing = [key for key in sorted(saved.keys() | wanted.keys()) if saved.get(key) != wanted.get(key)]
    if differing:
        shown = ", ".join(f"{key}={saved.get(key)} instead of {wanted.get(key)}" for key in differing[:3])
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ConfigError(
            f"{run.path} holds another run, which is left as it is: it has {shown}{more}.\n"
            "Give this sweep another folder: hydra.sweep.dir=<folder>"
        )


def _saved(run: RunFolder) -> DictConfig:
    """Returns the configuration in a run folder, completed with the defaults of today."""
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.load(run.config))
    assert isinstance(cfg, DictConfig)
    return cfg


def _learned(config: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain["data"]["store"] = str(Path(plain["data"]["store"]).resolve())
    return {key: value for key, value in flatten(plain) if affects_training(key)}


def going_on(run: RunFolder, cfg: DictConfig) -> DictConfig:
    """Returns the configuration that goes on in a run which `cfg` began, with what `auto` stood for when it began."""
    cfg, saved = deepcopy(cfg), _saved(run)
    cfg.resume = str(run.path)
    for key in _FOUND:
        OmegaConf.update(cfg, key, OmegaConf.select(saved, key))
    return cfg


def clear_run_folder(run: RunFolder) -> None:
    """Removes what a run left that broke off before there was anything to go on from."""
    rungs = run.path / RUNGS
    for file in (rungs, *run.checkpoints.glob("*.ckpt*"), *run.grids.glob("*.png"), run.metrics, run.results):
        file.unlink(missing_ok=True)
    for folder in (run.checkpoints, run.grids):
        with contextlib.suppress(OSError):
            folder.rmdir()


def open_run_folder(
    run: RunFolder, cfg: DictConfig, record: Mapping[str, Any], resumed: Path | None
) -> Mapping[str, Any]:
    """Writes what is known before the first step; of a resumed run, what came before is kept.

    Args:
        run: The run folder.
        cfg: The configuration, kept there fully resolved.
        record: Provenance, kept there.
        resumed: The checkpoint the run goes on from, or None for a new run.

    Returns:
        The record as it is kept: of a resumed run, with the id it has and the command that began it.

    Raises:
        ConfigError: If a new run would overwrite an old one.
        CheckpointError: If a resumed run would go on with other data or another teacher than it began with.
    """
    failed = run.read_results().get("status") == "failed"
    if resumed is None and (run.last.is_file() or (run.best.is_file() and not failed)):
        raise ConfigError(
            f"{run.path} holds a run already, which is left as it is. Go on with it: pkdn train resume={run.path}\n"
            "or give another folder: run_dir=..."
        )
    if resumed is None:
        clear_run_folder(run)
    elif not run.finished:
        run.results.unlink(missing_ok=True)  # what it says of the last session is true no more
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    if resumed is not None:
        previous = json.loads(run.provenance.read_text(encoding="utf-8"))
        for key in ("data", "teacher"):
            if previous.get(key) != record[key]:
                raise CheckpointError(
                    f"The run {run.path} began with {key} {previous.get(key)} and would go on with {record[key]}.\n"
                    "Restore what it began with, or start a new run."
                )
        trim_metrics(run.metrics, read_checkpoint(resumed)["global_step"])
        session = {key: record[key] for key in ("command", "started", "git")}
        begun = {key: previous[key] for key in ("id", "command", "started") if key in previous}
        record = {**record, **begun, "resumed": [*previous.get("resumed", []), session]}
    saved = deepcopy(cfg)
    saved.resume = None
    if record["teacher"] is not None:  # a newer teacher must not slip in when the run is resumed
        saved.teacher.checkpoint = record["teacher"]["path"]
    OmegaConf.save(saved, run.config, resolve=True)
    write_json(run.provenance, record)
    return record
