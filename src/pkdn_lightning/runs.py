"""Run folders: paths, status, results and provenance.

config.yaml        the resolved configuration that ran
run.json           provenance: versions, git state, command, seed, data and teacher hashes
metrics.csv        every logged value by step
results.json       the results, written last, with the run's status
checkpoints/       best.ckpt (by validation) and last.ckpt (for resuming)
grids/             sample images
job.json           only in sweeps: the job's overrides, and the command that runs it alone
"""

import contextlib
import os
import platform
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.files import read_json, write_json


class RunStatus(StrEnum):
    """Status of a run."""

    RUNNING = "running"
    WAITING = "waiting"  # for a teacher that another process trains
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # stopped or killed
    FAILED = "failed"


class RunFolder:
    """A run folder, which need not exist yet.

    Attributes:
        path: The folder.
        config: The resolved configuration.
        provenance: Provenance of the run.
        metrics: Every logged value by step.
        results: Status and results.
        job: The run's job in a sweep.
        checkpoints: The folder of checkpoints.
        best: The best checkpoint by validation.
        last: The newest checkpoint, from which training resumes.
        grids: The folder of sample images.
        profile: The folder of profiles that `debug=profile` writes.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.config, self.provenance = path, path / "config.yaml", path / "run.json"
        self.metrics, self.results, self.job = path / "metrics.csv", path / "results.json", path / "job.json"
        self.checkpoints, self.grids, self.profile = path / "checkpoints", path / "grids", path / "profile"
        self.best, self.last = self.checkpoints / "best.ckpt", self.checkpoints / "last.ckpt"

    def held(self) -> FileLock:
        """Returns the lock of the process that trains in this folder; the system releases it when the process ends.

        Acquiring it raises `filelock.Timeout` only after some seconds, because `is_held` takes it for a moment.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock", timeout=5, is_singleton=True)  # reentrant within a process

    def is_held(self) -> bool:
        """Returns whether a process trains in the folder now."""
        lock = self.path / ".lock"
        if not lock.is_file():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True

    def foreign_file(self) -> str | None:
        """Returns the name of a file in the folder that no run has written; None if there is none."""
        if self.provenance.is_file() and "id" in read_json(self.provenance):
            return None
        own = {".lock", self.job.name}
        if self.read_results().get("status") in set(RunStatus):  # of a run that failed before it began
            own.add(self.results.name)
        return next((each.name for each in sorted(self.path.glob("*")) if each.name not in own), None)

    def remove_if_empty(self) -> None:
        """Removes the folder if it holds nothing but its lock: the run was refused before it began."""
        lock = self.path / ".lock"
        if [*self.path.glob("*")] in ([], [lock]):
            lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def write_results(self, status: RunStatus, content: Mapping[str, Any] | None = None) -> None:
        """Writes `results.json`: the content and the status."""
        write_json(self.results, {**(content or {}), "status": status})

    @property
    def status(self) -> RunStatus:
        """The recorded status, unless a process trains in the folder now."""
        recorded = self.read_results().get("status")
        if recorded == RunStatus.FINISHED:
            return RunStatus.FINISHED
        if self.is_held():
            return RunStatus.WAITING if recorded == RunStatus.WAITING else RunStatus.RUNNING
        if RunStatus.FAILED in (recorded, self.read_job().get("outcome")):
            return RunStatus.FAILED
        return RunStatus.INTERRUPTED  # a killed process records nothing

    def read_results(self) -> dict[str, Any]:
        """Returns the contents of `results.json`; empty if it is missing or unreadable."""
        return read_json(self.results)

    def read_job(self) -> dict[str, Any]:
        """Returns the contents of `job.json`; empty if it is missing or unreadable."""
        return read_json(self.job)

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.read_results().get("status") == RunStatus.FINISHED


def open_run(path: str | Path) -> RunFolder:
    """Returns an existing run folder.

    Raises:
        CheckpointError: If there is no run folder at `path`.
    """
    run = RunFolder(Path(path))
    if not run.config.is_file():
        raise CheckpointError(
            f"{run.path} is not a run folder: it has no config.yaml. Training prints the run folder at its "
            "start and end, e.g. runs/student_celeba/2026-01-31_12-00-00."
        )
    return run


def find_runs(root: str | Path) -> Iterator[RunFolder]:
    """Yields the finished runs below a folder, newest first."""
    found = [RunFolder(file.parent) for file in Path(root).rglob("results.json")]
    for run in sorted(found, key=lambda run: run.results.stat().st_mtime, reverse=True):
        if run.finished:
            yield run


def provenance(experiment: str, seed: int, run: RunFolder | None = None) -> dict[str, Any]:
    """Returns a run's unique id and its command, time, versions, git state and machine.

    For a job of a sweep, the command is the one that runs this job alone, from its job.json.
    """
    job = run.read_job() if run else {}
    return {
        "id": secrets.token_hex(6),
        "experiment": experiment,
        "seed": seed,
        "command": job.get("command") or shlex.join(["pkdn", _verb(), *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_state(),
        "versions": {name: _version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "host": platform.node(), "pid": os.getpid()},
    }


def _verb() -> str:
    """Returns the verb of this process, from the path of its module or package in `sys.argv`."""
    program = Path(sys.argv[0])
    return program.parent.name if program.stem == "__main__" else program.stem


_PACKAGES = (
    "pkdn-lightning",
    "torch",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "kornia",
    "numpy",
    "pillow",
)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state() -> dict[str, Any] | None:
    """Returns commit and modification state of the checkout that the package runs from; None outside one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # An installed copy may lie in the checkout of another project (in a virtual environment); ignore that one.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
