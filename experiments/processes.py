"""The processes of a campaign: each has a time limit, and results are appended to a file as they come."""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from timing import add_row, environment  # noqa: E402

_STOPPING_S: Final = 15.0
"""A training that is told to stop finishes its step and writes a checkpoint."""


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


class Campaign:
    """The processes of a campaign, and what they told.

    Args:
        options: Those of `campaign.py`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.begun = time.monotonic()
        self.options, self.out, self.work = options, options.out.resolve(), options.work.resolve()
        self.rows, self.log = self.out / "rows.jsonl", self.out / "log.txt"
        self.lengths = Lengths(pace=4, evaluation=20, reserve=4, most=8) if options.tiny else Lengths()
        self.out.mkdir(parents=True, exist_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)
        self.row("begin", command=shlex.join(sys.argv), seconds=options.seconds, **environment())

    def left(self) -> float:
        """Returns the seconds until the last files have to be written."""
        return float(self.options.seconds - (time.monotonic() - self.begun) - self.lengths.reserve)

    def row(self, stage: str, **values: Any) -> None:
        """Appends a row to the results, and prints it."""
        line = add_row(self.rows, stage=stage, at_s=round(time.monotonic() - self.begun, 1), **values)
        print(line, flush=True)

    def start(self, *command: object) -> subprocess.Popen[bytes]:
        """Starts a process of Python; what it prints goes into the log."""
        line = [sys.executable, *map(str, command)]
        path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        environ = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PKDN_GPU_TESTS_ROWS": str(self.rows)}
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {shlex.join(line)}\n")
            log.flush()
            return subprocess.Popen(line, cwd=self.work, env=environ, stdout=log, stderr=subprocess.STDOUT)

    def wait(self, name: str, process: subprocess.Popen[bytes] | None, limit: float) -> None:
        """Waits for a process, stops it at its limit or at the end of the time, and notes its exit status."""
        if process is None:  # what it does was done by an earlier session
            return
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
