"""One job of a sweep: a finished one is skipped, an interrupted one resumed, a failure recorded.

The outcome stands in the job's run folder, because launchers (Hydra, joblib, submitit, Ray) report it differently.
"""

import multiprocessing
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout
from omegaconf import DictConfig

from pkdn_lightning.config.command_line import as_typed
from pkdn_lightning.console import console
from pkdn_lightning.errors import PKDNError, describe
from pkdn_lightning.files import write_json
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.sweep.session import GROUPS, SWEEP_ID
from pkdn_lightning.train.callbacks import TrainingInterruptedError
from pkdn_lightning.train.resume import check_same_run, clear_run_folder, resuming_config
from pkdn_lightning.train.training_run import run_training


def run_job(cfg: DictConfig, overrides: Sequence[str]) -> float | None:
    """Runs or resumes a job of a sweep.

    Args:
        cfg: Its configuration; `run_dir` is its folder.
        overrides: The overrides of the command line and of the sweep.

    Returns:
        PSNR on the validation split, in dB; None if the job failed or another process runs it. Errors are recorded,
        not raised: launchers and sweepers handle them differently.

    Raises:
        KeyboardInterrupt: If the job was asked to stop; the sweep ends with it.
    """
    if multiprocessing.get_start_method(allow_none=True) == "loky":  # joblib's, which data loaders cannot use
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    run = RunFolder(Path(cfg.run_dir))
    job = {"sweep": os.environ.get(SWEEP_ID), "overrides": list(overrides), "command": job_command(overrides, run)}
    write_json(run.job, job)
    objective: float | None = None
    outcome: dict[str, str] = {}
    try:
        with run.held():
            objective = _run_or_resume(run, cfg)
        outcome = {"outcome": RunStatus.FINISHED}
    except Timeout:
        outcome = {"outcome": "elsewhere"}
        console.print(f"{run.path}: another process runs it; skipped.")
    except TrainingInterruptedError as stop:
        raise KeyboardInterrupt(str(stop)) from None
    except Exception as error:
        outcome = {"outcome": RunStatus.FAILED, "error": describe(error)}
        _report_failure(run, error)
    write_json(run.job, job | outcome)
    return objective


def _report_failure(run: RunFolder, error: Exception) -> None:
    if not run.config.is_file():  # it failed before it started; later failures are recorded by the run
        run.write_results(RunStatus.FAILED, {"error": describe(error)})
    sys.stderr.write(f"{run.path}: {describe(error)}\n")
    if not isinstance(error, PKDNError):
        traceback.print_exc()


def job_command(overrides: Sequence[str], run: RunFolder) -> str:
    """Returns the command that runs one job of a sweep alone, in its place."""
    kept = [as_typed("train", each) for each in overrides if each.lstrip("+").partition("=")[0] not in GROUPS]
    return shlex.join(["pkdn", "train", *kept, f"run_dir={run.path}"])


def _run_or_resume(run: RunFolder, cfg: DictConfig) -> float | None:
    results = run.read_results()
    check_same_run(run, cfg)
    if run.finished:
        console.print(f"{run.path}: already finished; skipped.")
        return results["metrics"].get("val/psnr_y")
    if run.last.is_file():
        cfg = resuming_config(run, cfg)
    else:
        clear_run_folder(run)
    return run_training(cfg).objective
