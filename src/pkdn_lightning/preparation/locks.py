"""One process at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console


@contextlib.contextmanager
def alone(place: Path, doing: str) -> Iterator[None]:
    """Keeps other processes from making the same file or folder; waits for one that does, and says so.

    Args:
        place: The file or folder; the lock lies beside it.
        doing: What the other one is doing, as in `downloads`.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f".{place.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        Console().print(f"Waiting for another process that {doing} {place.name}.", soft_wrap=True, markup=False)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
