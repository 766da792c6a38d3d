"""A time limit for a part of a benchmark."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class TimeIsUp(BaseException):
    """The time limit was reached; no `Exception`, so that nothing below handles it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises `TimeIsUp` in the block after some seconds."""

    def stop(*_: object) -> None:
        raise TimeIsUp(f"more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.01, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
