"""What a run folder is: where things lie in it, its record of results, and how runs are found.

config.yaml        the resolved configuration that ran
run.json           provenance: versions, git state, command, seed, data and teacher hashes
metrics.csv        every logged value over time
results.json       the outcome, written last; its `status` says whether the run is finished
checkpoints/       best.ckpt (by validation) and last.ckpt (for resuming)
grids/             sample images
job.json           of a job of a sweep: its overrides, and the command that runs it alone
"""

import csv
import os
import platform
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.files import read_json, whole_file, write_json


class RunStatus(StrEnum):
    """Where a run stands."""

    RUNNING = "running"
    WAITING = "waiting"  # for the teacher that another process trains
    FINISHED = "finished"
    INTERRUPTED = "interrupted"  # asked to stop, or killed
    FAILED = "failed"


@dataclass(frozen=True)
class RunFolder:
    """The paths inside one run folder.

    Attributes:
        path: The folder; it need not exist yet.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        """Where the run came from."""
        return self.path / "run.json"

    @property
    def results(self) -> Path:
        """The outcome."""
        return self.path / "results.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The checkpoint that validated best."""
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        """The newest checkpoint: what resuming continues from."""
        return self.checkpoints / "last.ckpt"

    @property
    def grids(self) -> Path:
        """Folder of the sample images."""
        return self.path / "grids"

    @property
    def profile(self) -> Path:
        """Folder of what `debug=profile` leaves."""
        return self.path / "profile"

    @property
    def metrics(self) -> Path:
        """Every logged value over time."""
        return self.path / "metrics.csv"

    @property
    def job(self) -> Path:
        """What a run has to do with a sweep."""
        return self.path / "job.json"

    def held(self) -> FileLock:
        """Returns the lock that whoever trains in this folder holds; the system frees it when that process ends.

        Acquiring it raises `filelock.Timeout` behind some seconds: whoever asks for a status holds it for a moment.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock", timeout=5, is_singleton=True)  # one process may take it twice

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

    def write_results(self, status: RunStatus, content: Mapping[str, Any] | None = None) -> None:
        """Writes `results.json`: what became of the run, and the content."""
        write_json(self.results, {**(content or {}), "status": status})

    @property
    def status(self) -> RunStatus:
        """Where the run stands: what its last process wrote down, unless another one trains in the folder now."""
        recorded = self.read_results().get("status")
        if recorded == RunStatus.FINISHED:
            return RunStatus.FINISHED
        if self.is_held():
            return RunStatus.WAITING if recorded == RunStatus.WAITING else RunStatus.RUNNING
        if RunStatus.FAILED in (recorded, self.read_job().get("outcome")):
            return RunStatus.FAILED
        return RunStatus.INTERRUPTED  # a process that was killed leaves no word

    def read_results(self) -> dict[str, Any]:
        """Returns the contents of `results.json`; empty where there is none or it cannot be read."""
        return read_json(self.results)

    def read_job(self) -> dict[str, Any]:
        """Returns the contents of `job.json`; empty where there is none or it cannot be read."""
        return read_json(self.job)

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.read_results().get("status") == RunStatus.FINISHED


def open_run(path: str | Path) -> RunFolder:
    """Returns an existing run folder.

    Raises:
        CheckpointError: If there is no run folder at `path`.
    """
    run = RunFolder(Path(path))
    if not run.config.is_file():
        raise CheckpointError(
            f"{run.path} is not a run folder: it has no config.yaml. A run folder is what training prints at its "
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
    """Returns where a run comes from: command, time, versions, git state, machine; and an id that no other run has.

    The command of a job of a sweep is the one that runs it alone, as its job.json has it.
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
    """Returns the verb of this process: `python -m` and `pkdn` both leave the path of its module or package."""
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
    """Returns commit and cleanness of the checkout the package runs from; None outside one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's checkout (a virtual environment): that state is not ours.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def trim_metrics(file: Path, step: int) -> None:
    """Drops the rows of a metrics.csv from `step` on: a resumed run will write them again."""
    if not file.is_file():
        return
    with file.open(newline="", encoding="utf-8") as source:
        reader = csv.DictReader(source)
        rows = [row for row in reader if int(row["step"] or 0) < step]
        columns = list(reader.fieldnames or [])
    with whole_file(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, columns)
        writer.writeheader()
        writer.writerows(rows)
