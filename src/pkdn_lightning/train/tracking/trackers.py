"""What is logged of a run at its start, at a validation and at its end.

One function per event, with an implementation per kind of logger; other loggers receive configuration and scalars.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from pkdn_lightning.console import console
from pkdn_lightning.errors import ConfigError

MakeArtifact = Callable[[], Any]
"""Makes a W&B artifact; called only if there is a W&B logger."""

_CHOSEN_BY: Final = ("val/psnr_y", "val/ssim_y")  # summarised by their best values
_STEP: Final = "trainer/global_step"


def describe(config: Mapping[str, Any], record: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Returns a run's configuration as trackers show it: what affects training, and provenance.

    Args:
        config: The resolved configuration.
        record: The run's record: provenance, data, teacher and size.
        role: See `SRModule.role`.

    Returns:
        A nested mapping. Trackers show it by dotted keys: `objective.ts.weight`, `data.sha256`, `teacher.sha256`.
    """
    shown = {key: value for key, value in config.items() if key not in ("logger", "callbacks", "paths", "resume")}
    shown["run_dir"] = str(Path(config["run_dir"]).absolute())
    shown["data"] = {key: value for key, value in config["data"].items() if key != "source"} | record["data"]
    shown["teacher"] = record["teacher"] or {}
    passive = ("best", "last", "grid", "progress", "learning_rate")
    shown["callbacks"] = {name: each for name, each in config["callbacks"].items() if name not in passive}
    kept = ("id", "command", "git", "params", "macs")
    return {**shown, **{key: record[key] for key in kept if key in record}, "role": role}


@contextlib.contextmanager
def tracked(
    loggers: Sequence[Logger], config: Mapping[str, Any], inputs: Sequence[MakeArtifact] = ()
) -> Iterator[None]:
    """Opens loggers for a run and closes them however it ends, so that the next run of a sweep gets its own.

    Args:
        loggers: The loggers.
        config: What `describe` returns.
        inputs: Artifacts that the run is made from.
    """
    status = "failed"
    try:
        for logger in loggers:
            begin(logger, config, inputs)
        yield
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)
            close(logger, status)


@singledispatch
def begin(logger: Logger, config: Mapping[str, Any], inputs: Sequence[MakeArtifact]) -> None:
    """Logs configuration and inputs at the start of a run."""
    logger.log_hyperparams(dict(config))


@begin.register
def _(logger: WandbLogger, config: Mapping[str, Any], inputs: Sequence[MakeArtifact]) -> None:
    import wandb

    try:
        run = logger.experiment
    except wandb.errors.Error as error:
        raise ConfigError(
            f"W&B cannot be reached: {error}\nLog in with `wandb login`, or leave it offline: logger.wandb.offline=true"
        ) from error
    logger.log_hyperparams(dict(config))
    for metric in _CHOSEN_BY:
        run.define_metric(metric, step_metric=_STEP, step_sync=True, summary="max")
    run.summary.update({key: config[key] for key in ("params", "macs") if key in config})
    if not run.offline:  # offline, W&B accepts none; hashes and paths are in the configuration
        for make in inputs:
            run.use_artifact(make())


@singledispatch
def show(logger: Logger, key: str, image: Image.Image, step: int) -> None:
    """Logs an image, if the logger takes images."""


@show.register
def _(logger: WandbLogger, key: str, image: Image.Image, step: int) -> None:
    logger.log_image(key, [image], step=step)


@show.register
def _(logger: TensorBoardLogger, key: str, image: Image.Image, step: int) -> None:
    logger.experiment.add_image(key, np.asarray(image), step, dataformats="HWC")


@show.register
def _(logger: MLFlowLogger, key: str, image: Image.Image, step: int) -> None:
    logger.experiment.log_image(logger.run_id, image, key=key, step=step)


class Outcome(NamedTuple):
    """The outcome of a run.

    Attributes:
        metrics: Its metrics by name.
        step: The step after which they were measured.
        products: Artifacts that it made.
    """

    metrics: Mapping[str, float]
    step: int
    products: Sequence[MakeArtifact]

    @property
    def final(self) -> dict[str, float]:
        """The metrics without a curve: `best/*` and `test/*`."""
        return {name: value for name, value in self.metrics.items() if name not in _CHOSEN_BY}


@singledispatch
def conclude(logger: Logger, outcome: Outcome, config: Mapping[str, Any]) -> None:
    """Logs the outcome of a run; `config` is what was logged at its start."""
    logger.log_metrics(outcome.final, step=outcome.step)


@conclude.register
def _(logger: CSVLogger, outcome: Outcome, config: Mapping[str, Any]) -> None:
    pass  # results.json has it


@conclude.register
def _(logger: WandbLogger, outcome: Outcome, config: Mapping[str, Any]) -> None:
    logger.experiment.summary.update(outcome.final)
    for make in outcome.products:
        logger.experiment.log_artifact(make(), aliases=["latest", "best"])


@conclude.register
def _(logger: TensorBoardLogger, outcome: Outcome, config: Mapping[str, Any]) -> None:
    logger.log_hyperparams(dict(config), outcome.final, step=outcome.step)  # the HPARAMS tab wants both at once


@singledispatch
def close(logger: Logger, status: str) -> None:
    """Closes what a logger leaves open."""


@close.register
def _(logger: WandbLogger, status: str) -> None:
    import wandb

    run = wandb.run
    if run is None:
        return  # it could not be opened
    if run.offline:
        console.print(f"W&B, offline: wandb sync {Path(run.dir).parent}")
    run.finish(exit_code=0 if status == "success" else 1)
