"""Runs `pkdn ...` in a forked process, and kills it or fills its disk at a chosen event or time.

Forking imports torch and Lightning once. Events are what a kill may fall between: training, validation and test steps,
and each file that is written, before and after it takes its name.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

NEVER = 1 << 62
FULL_DISK = 0
"""Given instead of a signal, no file can be written any more from the event on."""


class Outcome(NamedTuple):
    """How a process ended: its exit status (negative: by a signal), the events before, its seconds, its output."""

    status: int
    events: list[str]
    seconds: float
    log: str


def pkdn(
    folder: Path, *arguments: str, at_event: int = NEVER, number: int = signal.SIGKILL, after_s: float | None = None
) -> Outcome:
    """Runs a command in a folder.

    Args:
        folder: The working directory.
        *arguments: What is typed behind `pkdn`.
        at_event: The number of the event, from 0 on, at which the process gets a signal.
        number: The signal, or `FULL_DISK`.
        after_s: The seconds after which it gets SIGKILL.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log, events = folder.with_suffix(".log"), folder.with_suffix(".events")
    events.unlink(missing_ok=True)
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(folder, arguments, log, events, at_event, number)
    if after_s is not None:
        _kill_later(child, begun + after_s)
    _, status = os.waitpid(child, 0)
    happened = events.read_text().splitlines() if events.is_file() else []
    return Outcome(os.waitstatus_to_exitcode(status), happened, time.monotonic() - begun, log.read_text())


def _kill_later(child: int, when: float) -> None:
    while time.monotonic() < when:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # it ended before
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)


def _run(folder: Path, arguments: tuple[str, ...], log: Path, events: Path, at_event: int, number: int) -> None:
    """Never returns: pytest must not go on in the child."""
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        os.chdir(folder)
        _watch(events, at_event, number)
        status = _main(arguments)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _main(arguments: tuple[str, ...]) -> int:
    from pkdn_lightning.__main__ import main

    sys.argv = ["pkdn", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def _watch(file: Path, at_event: int, number: int) -> None:
    from pkdn_lightning.modules import SRModule

    record, count = file.open("w"), [0]

    def happens(name: str) -> None:
        record.write(f"{name}\n")
        record.flush()
        count[0] += 1
        if number == FULL_DISK and count[0] > at_event and name == "fsync":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number != FULL_DISK and count[0] == at_event + 1:
            os.kill(os.getpid(), number)

    def watched(owner: Any, method: str, *, after: bool = False) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        def call(*arguments: Any, **options: Any) -> Any:
            happens(method)
            result = original(*arguments, **options)
            if after:
                happens(f"after {method}")
            return result

        setattr(owner, method, call)

    for step in ("training_step", "validation_step", "test_step"):
        watched(SRModule, step)
    watched(os, "fsync")
    watched(Path, "replace", after=True)
