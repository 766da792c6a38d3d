"""The processes of a campaign: each has a time limit, and results are appended to a file as they come.

PyTorch is imported by functions only, since it takes seconds: wrong options are refused before.
"""

import argparse
import ctypes
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.files import file_sha256, read_json, whole_file, write_json

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

_KEPT: Final = ("metrics.csv", "config.yaml", "results.json", "run.json", "per_image.csv", "table.md")
_LAST_LINES: Final = 15
"""Lines of a log that are printed when its process fails."""
_STOPPING_S: Final = 15.0
"""A training that is told to stop finishes its step and writes a checkpoint."""
_PR_SET_PDEATHSIG: Final = 1  # of <sys/prctl.h>


def _end_with_parent() -> None:
    """Has Linux end this process with its parent: one that is left behind would hold its run folder."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_END_WITH_PARENT: Final = _end_with_parent if sys.platform == "linux" else None


class Lengths(NamedTuple):
    """Seconds of the parts of a campaign; short ones try it out.

    Attributes:
        pace: Measuring the pace of a training.
        evaluation: The evaluation, a process's start included.
        reserve: What is left for the last files.
        tests: Limit of the tests.
        most: Largest number of steps.
    """

    pace: int = 12
    evaluation: int = 50
    reserve: int = 20
    tests: int = 100
    most: int = 1_000_000


def result_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that results of trainings depend on, as they are recorded in the working folder."""
    faces = options.faces and f"{options.faces.name} (sha256 {file_sha256(options.faces)[:12]})"
    return {"tiny": options.tiny, "device": options.device, "faces": faces, "overrides": options.overrides}


def work_folder(options: argparse.Namespace) -> Path:
    """Returns the folder of stores and runs: `--work`, or one in the temporary folder, named after the options.

    Raises:
        ConfigError: If the folder holds trainings with other options.
    """
    own = result_options(options)
    name = f"campaign_{hashlib.sha256(json.dumps(own).encode()).hexdigest()[:8]}"
    folder: Path = (options.work or Path(tempfile.gettempdir(), name)).resolve()
    recorded = read_json(folder / "options.json")
    differing = [
        f"{key} {_told(recorded.get(key))}, now {_told(own[key])}" for key in own if recorded.get(key) != own[key]
    ]
    used = bool(recorded) or any((folder / each).exists() for each in ("stores", "runs", "plan.json"))
    if options.verb == "train" and used and differing:
        found = f"of other options: {'; '.join(differing)}" if recorded else "whose options are not recorded"
        raise ConfigError(f"{folder} holds trainings {found}. Name another folder with --work, or remove this one.")
    return folder


def _told(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class Campaign:
    """The processes of a campaign, and what they told.

    Args:
        options: Those of `campaign.py`.

    Attributes:
        failed: The names of the processes that failed; being stopped at a time limit is no failure.

    Raises:
        ConfigError: If the working folder holds trainings with other options.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.begun = time.monotonic()
        self.options, self.out, self.work = options, options.out.resolve(), work_folder(options)
        self.rows, self.logs = self.out / "rows.jsonl", self.out / "logs"
        self.failed: list[str] = []
        self.lengths = Lengths(pace=4, evaluation=20, reserve=4, most=8) if options.tiny else Lengths()
        self.logs.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        if options.verb == "train":
            write_json(self.work / "options.json", result_options(options))
        from timing import environment

        seconds, work = options.seconds, str(self.work)
        self.row("begin", command=shlex.join(sys.argv), seconds=seconds, work=work, **environment())

    def left(self) -> float:
        """Returns the seconds until the last files have to be written."""
        return float(self.options.seconds - (time.monotonic() - self.begun) - self.lengths.reserve)

    def row(self, stage: str, **values: Any) -> None:
        """Appends a row to the results, and prints it."""
        from timing import add_row

        line = add_row(self.rows, stage=stage, at_s=round(time.monotonic() - self.begun, 1), **values)
        print(line, flush=True)

    def _log(self, name: str) -> Path:
        return self.logs / f"{name.replace(' ', '_')}.txt"

    def start(self, name: str, *command: object) -> subprocess.Popen[bytes]:
        """Starts a process of Python; what it prints goes into a log of its name."""
        line = [sys.executable, *map(str, command)]
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        environ = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PKDN_GPU_TESTS_ROWS": str(self.rows)}
        with self._log(name).open("a", encoding="utf-8") as log:
            log.write(f"\n$ {shlex.join(line)}\n")
            log.flush()
            return subprocess.Popen(
                line, cwd=self.work, env=environ, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_END_WITH_PARENT
            )

    def wait(self, name: str, process: subprocess.Popen[bytes] | None, limit: float) -> bool:
        """Waits for a process, stops it at its limit or at the end of the time, and notes its exit status.

        The end of its log is printed if it failed.

        Returns:
            Whether it ended by itself and without an error, now or before.
        """
        if process is None:  # it had ended before this call
            return True
        begun = time.monotonic()
        status: int | str
        try:
            status = process.wait(timeout=max(1.0, min(limit, self.left())))
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(timeout=_STOPPING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            status = "out of time"
        self.row("process", what=name, value=status, waited_s=round(time.monotonic() - begun, 1))
        if isinstance(status, int) and status != 0:
            self.failed.append(name)
            lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            print(
                f"{name} failed with exit status {status}. The end of {self._log(name)}:", *lines, sep="\n", flush=True
            )
        return status == 0

    def archive(self) -> None:
        """Writes curves, configurations and values of each face into the folder of results."""
        with whole_file(self.out / "runs.tar.gz") as file, tarfile.open(file, "w:gz") as archive:
            for each in sorted(
                found for kept in _KEPT for depth in ("*", "runs/*") for found in self.work.glob(f"{depth}/{kept}")
            ):
                archive.add(each, each.relative_to(self.work))
