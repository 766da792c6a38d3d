"""What each tracker is told of a run: at its beginning, at a validation, at its end.

A function per moment, with an implementation per kind of logger. A logger of another kind gets what Lightning gives
every logger: the configuration and the scalars.
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
"""Makes a W&B artifact; called only where there is a W&B to log it to."""

_CHOSEN_BY: Final = ("val/psnr_y", "val/ssim_y")  # their best values say how good a run became
_STEP: Final = "trainer/global_step"  # Lightning's step axis


def describe(config: Mapping[str, Any], record: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Returns what trackers show as a run's configuration: what tells trainings apart, and where this one comes from.

    Args:
        config: The resolved configuration.
        record: The run's record: provenance, data, teacher and size.
        role: What is trained; see `SRModule.role`.

    Returns:
        A nested mapping. Trackers show it by dotted keys: `objective.ts.weight`, `data.sha256`, `teacher.sha256`.
    """
    shown = {key: value for key, value in config.items() if key not in ("logger", "callbacks", "paths", "resume")}
    shown["run_dir"] = str(Path(config["run_dir"]).absolute())
    shown["data"] = {key: value for key, value in config["data"].items() if key != "source"} | record["data"]
    shown["teacher"] = record["teacher"] or {}
    watching = ("best", "last", "grid", "progress", "learning_rate")
    shown["callbacks"] = {name: each for name, each in config["callbacks"].items() if name not in watching}
    kept = ("id", "command", "git", "params", "macs")
    return {**shown, **{key: record[key] for key in kept if key in record}, "role": role}


@contextlib.contextmanager
def tracked(
    loggers: Sequence[Logger], config: Mapping[str, Any], inputs: Sequence[MakeArtifact] = ()
) -> Iterator[None]:
    """Opens loggers for a run, and closes them however it ends, so that the next run of a sweep gets its own.

    Args:
        loggers: The loggers.
        config: What `describe` returns.
        inputs: What the run is made from.
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
    """Tells a logger what is about to be trained, and from what."""
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
    if not run.offline:  # offline, W&B takes no inputs: the configuration has their hashes and paths
        for make in inputs:
            run.use_artifact(make())


@singledispatch
def show(logger: Logger, key: str, image: Image.Image, step: int) -> None:
    """Gives an image to a logger that takes any."""


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
    """How a run came out.

    Attributes:
        metrics: Every number of it by name.
        step: The step it was measured after.
        products: What the run made.
    """

    metrics: Mapping[str, float]
    step: int
    products: Sequence[MakeArtifact]

    @property
    def final(self) -> dict[str, float]:
        """The numbers that have no curve of their own: `best/*` and `test/*`."""
        return {name: value for name, value in self.metrics.items() if name not in _CHOSEN_BY}


@singledispatch
def conclude(logger: Logger, outcome: Outcome, config: Mapping[str, Any]) -> None:
    """Tells a logger how a run came out, and what it made; `config` is what it was told at the beginning."""
    logger.log_metrics(outcome.final, step=outcome.step)


@conclude.register
def _(logger: CSVLogger, outcome: Outcome, config: Mapping[str, Any]) -> None:
    pass  # results.json lies beside it


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
    """Ends what a logger leaves open."""


@close.register
def _(logger: WandbLogger, status: str) -> None:
    import wandb

    run = wandb.run
    if run is None:
        return  # it could not even be opened
    if run.offline:
        console.print(f"W&B, offline: wandb sync {Path(run.dir).parent}")
    run.finish(exit_code=0 if status == "success" else 1)
