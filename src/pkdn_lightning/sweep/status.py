"""How far runs and jobs have come, read from their folders alone: without torch, and without disturbing them."""

import csv
import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from omegaconf import OmegaConf

from pkdn_lightning.console import console
from pkdn_lightning.file_schema import fault
from pkdn_lightning.files import remove_if_empty
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.sweep.session import RECORD, SweepSession

_TAIL_BYTES: Final = 1 << 18
_RESULTS: Final = {"steps?": (int, None), "metrics?": {str: float}, "for?": str}
_TRAINER: Final = {"max_steps?": (int, None), "max_epochs?": (int, None)}


class RunProgress(NamedTuple):
    """How far a run has come.

    Attributes:
        run: Its folder.
        status: Where it stands.
        step: Steps taken; None before the first that was logged.
        share: Completed share of the training, 0 to 1; None if its length is unknown.
        psnr: Last PSNR on the validation split, in dB.
        left_s: Remaining seconds at the average speed.
        note: Why it failed, or what it waits for.
    """

    run: RunFolder
    status: RunStatus
    step: int | None
    share: float | None
    psnr: float | None
    left_s: float | None
    note: str


def find_progress(root: Path) -> list[RunProgress]:
    """Returns how far the runs and jobs below a folder have come, by path."""
    names = ("run.json", "job.json", "results.json")
    folders = {file.parent for name in names for file in root.rglob(name) if file.parent.name != "report"}
    return [progress(RunFolder(folder)) for folder in sorted(folders)]


def progress(run: RunFolder) -> RunProgress:
    """Returns how far a run has come."""
    status, results, last = run.status, run.read_results(), _last_values(run.metrics)
    if wrong := fault(results, _RESULTS):
        results = {"error": f"its results.json is damaged: {wrong}"}
    step = int(last["step"]) if "step" in last else None
    trainer = _trainer(run.config, run.config.stat().st_mtime_ns) if run.config.is_file() else None
    share = _share(step, last, trainer or {})
    psnr = last.get("val/psnr_y")
    if status == RunStatus.FINISHED:
        step, psnr, share = results.get("steps", step), results.get("metrics", {}).get("val/psnr_y", psnr), 1.0
    wall_s = last.get("train/wall_s")
    left_s = wall_s * (1 - share) / share if status == RunStatus.RUNNING and wall_s and share else None
    note = _note(run, status, results)
    if trainer is None and status == RunStatus.FINISHED:
        note = note or "its config.yaml is missing or cannot be read, so it cannot be evaluated"
    return RunProgress(run, status, step, share, psnr, left_s, note)


def _note(run: RunFolder, status: RunStatus, results: Mapping[str, Any]) -> str:
    if status == RunStatus.WAITING and "for" in results:
        return _teacher(RunFolder(Path(results["for"])))
    if status == RunStatus.FAILED or (status == RunStatus.FINISHED and "error" in results):
        return str(results.get("error") or run.read_job().get("error", ""))
    if status == RunStatus.INTERRUPTED and not run.last.is_file():
        return "before its first checkpoint"
    return ""


def _teacher(teacher: RunFolder) -> str:
    step = _last_values(teacher.metrics).get("step")
    return f"for the teacher {teacher.path}" + (f", at step {step:,.0f}" if step is not None else "")


def _share(step: int | None, last: Mapping[str, float], trainer: Mapping[str, Any]) -> float | None:
    if step is None:
        return None
    if (trainer.get("max_steps") or -1) > 0:
        return min(1.0, (step + 1) / trainer["max_steps"])
    if (trainer.get("max_epochs") or -1) > 0 and "epoch" in last:
        return min(1.0, last["epoch"] / trainer["max_epochs"])
    return None


@lru_cache(maxsize=4096)
def _trainer(config: Path, changed_ns: int) -> Mapping[str, Any] | None:
    """Returns the trainer's settings; None if the file cannot be read."""
    try:
        trainer: Any = OmegaConf.to_container(OmegaConf.load(config))["trainer"]  # type: ignore[call-overload,index]
    except Exception:  # half written or foreign: the table shows the rest
        return None
    return trainer if fault(trainer, _TRAINER) is None else None


def _last_values(metrics: Path) -> dict[str, float]:
    """Returns the last value of each column in the final part of a metrics.csv."""
    try:
        with metrics.open("rb") as file:
            header = file.readline().decode(errors="replace")
            begin, size = file.tell(), file.seek(0, io.SEEK_END)
            start = max(begin, size - _TAIL_BYTES)
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return {}
    rows = lines[1:] if start > begin else lines  # the first may be cut
    last: dict[str, float] = {}
    for row in csv.DictReader(line.replace("\0", "") for line in [header, *rows]):
        for name, value in row.items():
            if name and value:
                try:
                    last[name] = float(value)
                except (TypeError, ValueError):
                    continue
    return last


def end_session() -> int:
    """Prints how the jobs of this process's sweep ended; nothing if there was none.

    Returns:
        The exit status: 1 if a job failed, 0 otherwise.
    """
    if SweepSession.latest is None:
        return 0
    folder, session = SweepSession.latest
    jobs = dict(jobs_of(folder, session))
    if not jobs:  # mistyped, or refused by the launcher, and said so
        if [each.name for each in folder.glob("*")] == [RECORD]:
            (folder / RECORD).unlink()
            remove_if_empty(folder)
        return 0
    failed = {path: job for path, job in jobs.items() if job.get("outcome") == RunStatus.FAILED}
    for path, job in failed.items():
        console.print(f"\nfailed {path.name}", style="bold red")
        console.print(f"{job['error']}\nRun it again: {job['command']}")
    outcomes = [job.get("outcome", "not finished") for job in jobs.values()]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))
    way_on = "" if set(outcomes) == {RunStatus.FINISHED} else " Repeat the command to run unfinished jobs."
    console.print(f"\nSweep in {folder}: {counts}.{way_on}")
    return 1 if failed else 0


def jobs_of(folder: Path, session: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yields the run folders and records of the jobs of one session of a sweep."""
    for file in sorted(folder.glob("*/job.json")):
        job = RunFolder(file.parent).read_job()
        if job.get("sweep") == session:
            yield file.parent, job
