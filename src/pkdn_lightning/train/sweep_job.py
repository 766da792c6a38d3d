"""One job of a sweep: finished ones are left alone, stopped ones go on, and a failure is written down.

Whoever launches the jobs (Hydra itself, joblib, submitit, Ray), what became of each stands in its run folder.
"""

import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout
from omegaconf import DictConfig

from pkdn_lightning.console import console
from pkdn_lightning.errors import PKDNError, describe
from pkdn_lightning.files import write_json
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.sweep.session import GROUPS, SWEEP_ID
from pkdn_lightning.train.callbacks import TrainingInterruptedError
from pkdn_lightning.train.resume import check_same_run, clear_run_folder, going_on
from pkdn_lightning.train.training_run import run_training


def run_job(cfg: DictConfig, overrides: Sequence[str]) -> float | None:
    """Brings a job of a sweep to its end, from wherever it stands.

    Args:
        cfg: Its configuration; `run_dir` is its folder.
        overrides: What the command line and the sweep changed.

    Returns:
        PSNR on the validation split, in dB; None if the job failed or another process has it. A failure does not
        leave this function, because launchers and sweepers differ in what they make of one.

    Raises:
        KeyboardInterrupt: If the job was asked to stop: no other is to begin.
    """
    run = RunFolder(Path(cfg.run_dir))
    job = {"sweep": os.environ.get(SWEEP_ID), "overrides": list(overrides), "command": job_command(overrides, run)}
    write_json(run.job, job)
    objective: float | None = None
    outcome: dict[str, str] = {}
    try:
        with run.held():
            objective = _go_on(run, cfg)
        outcome = {"outcome": RunStatus.FINISHED}
    except Timeout:
        outcome = {"outcome": "elsewhere"}
        console.print(f"{run.path}: another process is at it; left to that one.")
    except TrainingInterruptedError as stop:
        raise KeyboardInterrupt(str(stop)) from None
    except Exception as error:
        outcome = {"outcome": RunStatus.FAILED, "error": describe(error)}
        _report_failure(run, error)
    write_json(run.job, job | outcome)
    return objective


def _report_failure(run: RunFolder, error: Exception) -> None:
    if not run.config.is_file():  # it failed before it began; otherwise the run itself has recorded it
        run.write_results(RunStatus.FAILED, {"error": describe(error)})
    sys.stderr.write(f"{run.path}: {describe(error)}\n")
    if not isinstance(error, PKDNError):
        traceback.print_exc()


def job_command(overrides: Sequence[str], run: RunFolder) -> str:
    """Returns the command that runs one job of a sweep alone, in its place."""
    kept = [each for each in overrides if each.lstrip("+").partition("=")[0] not in GROUPS]
    return shlex.join(["pkdn", "train", *kept, f"run_dir={run.path}"])


def _go_on(run: RunFolder, cfg: DictConfig) -> float | None:
    results = run.read_results()
    check_same_run(run, cfg)
    if run.finished:
        console.print(f"{run.path}: already finished; nothing to do.")
        return results["metrics"].get("val/psnr_y")
    if run.last.is_file():
        cfg = going_on(run, cfg)
    else:
        clear_run_folder(run)
    return run_training(cfg).objective
