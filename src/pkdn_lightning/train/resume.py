"""How a run folder is opened for a new run, and for one that is resumed."""

import contextlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # no stubs

from pkdn_lightning.config.keys import check_config
from pkdn_lightning.config.schema import TrainConfig
from pkdn_lightning.config.training_keys import AUTO_KEYS, affects_training, describe_difference, flatten, within
from pkdn_lightning.console import counted
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import read_json, write_json, write_text
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.runs import RunFolder, RunStatus, open_run
from pkdn_lightning.train.tracking.csv_log import rewrite_rows

_NAMING: Final = ("experiment", "method", "size")
"""Keys that a run's name is made of; a resumed run keeps them."""
_IN_THE_CHECKPOINT: Final = ("model", "module", "optimizer", "scheduler", "seed", "callbacks.ema")
"""Keys whose new value would not fit the checkpoint, or be replaced by what is saved there."""


def saved_config(run_dir: str, overrides: Sequence[str]) -> DictConfig:
    """Returns the configuration of a run to be resumed, with the changes of the command line.

    Args:
        run_dir: The run folder.
        overrides: `key=value`s of the command line; a run keeps its groups.

    Raises:
        CheckpointError: If there is no run, it cannot be resumed, or nothing is left to train.
        ConfigError: If an override does not name a key, or one that a resumed run cannot change.
    """
    run = open_run(run_dir)
    if not run.last.is_file():
        raise CheckpointError(f"The run {run_dir} stopped before its first last.ckpt. Start it again.")
    cfg = _saved(run)
    for override in overrides:
        parsed = OverridesParser.create().parse_override(override)
        key = str(parsed.key_or_group)
        if key in ("resume", "run_dir"):
            continue
        try:
            kept = key in _NAMING or (within(key, _IN_THE_CHECKPOINT) and affects_training(key))
            if kept or OmegaConf.is_config(OmegaConf.select(cfg, key, throw_on_missing=False)):
                raise ConfigError(
                    f"{override}: a resumed run keeps its {key}. To change it, start a new run; "
                    f"module.init_from={run_dir} starts from these weights."
                )
            OmegaConf.update(cfg, key, parsed.value(), force_add=False)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{override}: {str(error).splitlines()[0]}") from error
    check_config("train", cfg)
    _move(cfg, run)
    check_length(run, cfg)
    return cfg


def _move(cfg: DictConfig, run: RunFolder) -> None:
    """Sets the run folder, which may have been moved since its configuration was saved with resolved paths."""
    saved, cfg.run_dir = cfg.run_dir, str(run.path.absolute())
    cfg.resume = cfg.run_dir
    for logger in cfg.logger.values():
        if logger and logger.get("save_dir") == saved:
            logger.save_dir = cfg.run_dir


def check_length(run: RunFolder, cfg: DictConfig) -> None:
    """Checks that the length in `cfg` is not less than what a run has been trained for, and more if it is finished.

    Raises:
        CheckpointError: Otherwise.
    """
    steps, epochs = trained_length(run)
    trainer, changed = cfg.trainer, _changed_length(run, cfg)
    advice = f"Type a greater length: pkdn train resume={run.path} trainer.max_steps=... (or trainer.max_epochs=...)"
    if run.finished and not changed:
        raise CheckpointError(
            f"The run {run.path} is finished after {counted(steps, 'step')}; there is nothing to resume. "
            f"To train it further, raise its length.\n{advice}"
        )
    for key, trained in (("max_steps", steps), ("max_epochs", epochs)):
        wanted = trainer[key]
        if wanted in (None, -1) or wanted > trained or (wanted == trained and not run.finished):
            continue
        raise CheckpointError(
            f"The run {run.path} has been trained for {trained:.9g} {key.removeprefix('max_')}, and "
            f"trainer.{key}={wanted} ends it there or before; nothing was changed.\n{advice}"
        )


def trained_length(run: RunFolder) -> tuple[int, float]:
    """Returns the steps and epochs that a run's last checkpoint has been trained for; a begun epoch counts as half."""
    checkpoint = read_checkpoint(run.last)
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return checkpoint["global_step"], checkpoint["epoch"] + (1.0 if progress["is_last_batch"] else 0.5)


def describe_change(run: RunFolder, cfg: DictConfig) -> str | None:
    """Returns a line that says how the length of a resumed run changes; None if it does not."""
    changed = _changed_length(run, cfg)
    if not changed:
        return None
    steps, _ = trained_length(run)
    length = " and ".join(f"trainer.{key}={cfg.trainer[key]}" for key in changed)
    schedule = ", with the learning rate schedule of that length" if cfg.scheduler else ""
    return f"{'Finished' if run.finished else 'Stopped'} after {counted(steps, 'step')}; goes on to {length}{schedule}."


def _changed_length(run: RunFolder, cfg: DictConfig) -> list[str]:
    saved = _saved(run).trainer
    return [key for key in ("max_steps", "max_epochs", "max_time") if saved[key] != cfg.trainer[key]]


def check_same_run(run: RunFolder, cfg: DictConfig) -> None:
    """Checks that the run in a folder, if there is one, is the one that `cfg` describes.

    Raises:
        ConfigError: If they differ in a key that affects training.
    """
    if not run.config.is_file():
        return
    saved, wanted = (_training_values(each) for each in (_saved(run), cfg))
    for key in AUTO_KEYS:
        if wanted[key] == "auto":
            saved[key] = "auto"
    if difference := describe_difference(saved, wanted):
        raise ConfigError(
            f"{run.path} holds another run, which is kept: it has {difference}.\n"
            "Give this sweep another folder: hydra.sweep.dir=<folder>"
        )


def _saved(run: RunFolder) -> DictConfig:
    """Returns the configuration in a run folder, completed with current defaults.

    Raises:
        CheckpointError: If it is damaged.
    """
    try:
        cfg: Any = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.load(run.config))
        check_config("train", cfg)
        fault = ", ".join(f"{key} is missing" for key in sorted(OmegaConf.missing_keys(cfg)))
    except (OSError, YAMLError, ValueError, OmegaConfBaseException, ConfigError) as error:
        fault = " ".join(str(error).split()).rstrip(".")
    if fault:
        raise CheckpointError(f"{run.config} is damaged or of another origin: {fault}.")
    return cast(DictConfig, cfg)


def _training_values(config: Any) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    plain["data"]["store"] = str(Path(plain["data"]["store"]).resolve())
    return {key: value for key, value in flatten(plain) if affects_training(key)}


def resuming_config(run: RunFolder, cfg: DictConfig) -> DictConfig:
    """Returns `cfg` set to resume its run, with the values that `auto` stood for when the run started."""
    cfg, saved = deepcopy(cfg), _saved(run)
    cfg.resume = str(run.path)
    for key in AUTO_KEYS:
        OmegaConf.update(cfg, key, OmegaConf.select(saved, key))
    return cfg


def clear_run_folder(run: RunFolder) -> None:
    """Removes the files of a run that stopped before its first checkpoint."""
    for file in (*run.checkpoints.glob("*.ckpt*"), *run.grids.glob("*.png"), run.metrics, run.results):
        file.unlink(missing_ok=True)
    for folder in (run.checkpoints, run.grids):
        with contextlib.suppress(OSError):
            folder.rmdir()


def check_run_folder(run: RunFolder, record: Mapping[str, Any], resumed: Path | None) -> Mapping[str, Any]:
    """Checks that a run can begin or go on in its folder, without changing anything there.

    Args:
        run: The run folder.
        record: Provenance.
        resumed: The checkpoint to resume from, or None for a new run.

    Returns:
        The record to save: a resumed run keeps its id, its first command and its start time.

    Raises:
        ConfigError: If a new run would overwrite an old one.
        CheckpointError: If data or teacher of a resumed run are not those it started with.
    """
    if resumed is None:
        if run.last.is_file():
            raise ConfigError(
                f"{run.path} holds a run already, which is kept. Resume it: pkdn train resume={run.path}\n"
                "or choose another folder: run_dir=..."
            )
        if foreign := run.foreign_file():
            raise ConfigError(f"{run.path} is no run folder and holds {foreign}. Choose another folder: run_dir=...")
        killed = run.provenance.is_file() and not run.finished  # before it wrote last.ckpt, right after best.ckpt
        if run.best.is_file() and not killed:
            raise ConfigError(f"{run.path} holds a trained model, which is kept. Choose another folder: run_dir=...")
        return record
    previous = read_json(run.provenance)
    if not previous:
        raise CheckpointError(f"{run.provenance} is missing or damaged: it says what the run was started with.")
    for key in ("data", "teacher"):
        if previous.get(key) != record[key]:
            raise CheckpointError(
                f"The run {run.path} started with {key} {previous.get(key)}; resuming would use {record[key]}.\n"
                f"Restore the {key} it started with, or start a new run."
            )
    session = {key: record[key] for key in ("command", "started", "git")}
    kept: dict[str, Any] = {key: previous[key] for key in ("id", "command", "started") if key in previous}
    return {**record, **kept, "resumed": [*previous.get("resumed", []), session]}


def open_run_folder(run: RunFolder, cfg: DictConfig, record: Mapping[str, Any], resumed: Path | None) -> None:
    """Writes configuration and record before the first step.

    Results of a finished run that is made longer stay until the longer one has its own; their status says that the run
    is not finished.

    Args:
        run: The run folder.
        cfg: The configuration; it is saved fully resolved.
        record: What `check_run_folder` returned.
        resumed: The checkpoint to resume from, or None for a new run.
    """
    if resumed is None:
        clear_run_folder(run)
    else:
        run.write_results(RunStatus.INTERRUPTED, measured(run))  # first: a kill must not leave a finished, longer run
        if run.metrics.is_file():
            rewrite_rows(run.metrics, before_step=read_checkpoint(resumed)["global_step"])
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    saved = deepcopy(cfg)
    saved.resume = None
    if record["teacher"] is not None:  # resuming must not find a newer teacher
        saved.teacher.checkpoint = record["teacher"]["path"]
    write_text(run.config, OmegaConf.to_yaml(saved, resolve=True))
    write_json(run.provenance, record)


def measured(run: RunFolder) -> dict[str, Any]:
    """Returns the results of a run that was finished once; empty for others."""
    results = run.read_results()
    return (
        {key: value for key, value in results.items() if key not in ("status", "error")} if "metrics" in results else {}
    )
