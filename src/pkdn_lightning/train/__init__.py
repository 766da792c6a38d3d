"""The verb `train`: a teacher, a student, or a student together with the teacher it needs.

pkdn train experiment=student_celeba
pkdn train experiment=student_celeba objective=reconstruction        # without distillation
pkdn train resume=runs/student_celeba/2026-01-31_12-00-00            # continues where it stopped
pkdn train -m experiment=student_celeba ablation=modules              # a sweep; repeated, it runs unfinished jobs
"""

import os
import sys
from typing import TYPE_CHECKING, Any

from pkdn_lightning.config.gpus import take_gpu
from pkdn_lightning.config.verb import run_verb
from pkdn_lightning.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omegaconf import DictConfig

    from pkdn_lightning.train.training_run import RunResult


def train(cfg: "DictConfig") -> "RunResult":
    """Trains a configuration in its run folder and measures the best checkpoint on the test splits.

    Args:
        cfg: A configuration as `compose("train", [..., "run_dir=<folder>"])` returns it.

    Returns:
        The run folder, its metrics and its best checkpoint.

    Raises:
        PKDNError: If the run cannot start or be resumed; the message says why and what to type next.
    """
    from pkdn_lightning.train.training_run import run_training

    return run_training(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    from pkdn_lightning.sweep.status import end_session

    try:
        run_verb("train", _task)
    finally:
        status = end_session()
    sys.exit(status)


def _task(cfg: "DictConfig") -> Any:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    _silence_profiler(cfg)
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        if cfg.trainer.devices == 1:
            take_gpu()  # before torch looks what there is
        from pkdn_lightning.train.sweep_job import run_job

        return run_job(cfg, list(hydra.overrides.task))
    _refuse_sweeps(hydra.runtime.choices)
    if cfg.resume is not None:
        if not cfg.resume:
            raise ConfigError("resume= is empty. Type: pkdn train resume=runs/<experiment>/<run>")
        from pkdn_lightning.train.resume import saved_config

        cfg = saved_config(cfg.resume, list(hydra.overrides.task))
    return train(cfg).objective


def _silence_profiler(cfg: "DictConfig") -> None:
    """Switches the warnings of torch's profiler off, which it writes past Python; torch reads this when imported."""
    if cfg.trainer.profiler is not None:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def _refuse_sweeps(choices: "Mapping[str, str | None]") -> None:
    for group in ("ablation", "sweep"):
        if choices.get(group) not in ("none", None):
            raise ConfigError(f"{group}={choices[group]} is a sweep, and this is a single run. Type: pkdn train -m ...")
