"""Work shared among processes, its results in order."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

from pkdn_lightning.errors import ConfigError, DataError

_AHEAD = 3  # items per worker that are under way: enough to keep it busy, few enough to fit anywhere
_WORTH_WORKERS = 256  # starting processes takes longer than reading this many faces

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int, *, skip: Callable[[Item], bool]
) -> Generator[tuple[Item, Result | None], None, None]:
    """Yields each item with what `work` made of it, in order, computed a little ahead.

    Args:
        work: What to do; pickled once for each worker process.
        items: What to do it with; drawn as needed.
        workers: Worker processes; 0 works in this one.
        skip: Says at the last moment that an item needs no work; its result is None.

    Raises:
        DataError: If a worker process died, or none could start.
    """
    if not workers:
        for item in items:
            yield item, None if skip(item) else work(item)
        return
    # Not forked: threads of torch or OpenCV in this process would leave locks held in the copy.
    context = multiprocessing.get_context("spawn")
    began = context.Event()
    pool = ProcessPoolExecutor(workers, context, _begin, (work, began))
    waiting: deque[tuple[Item, Future[Any] | None]] = deque()
    try:
        for item in items:
            waiting.append((item, None if skip(item) else pool.submit(_do, item)))
            if len(waiting) > workers * _AHEAD:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    except BrokenProcessPool as error:
        if not began.is_set() and not _can_spawn():
            raise DataError(
                f"No worker process could start: each runs {_main_file()} again, which starts this work again. Put the "
                "calls there under  if __name__ == '__main__':  or set workers=0."
            ) from error
        raise DataError(
            "A worker process died, perhaps out of memory: run the same command again, which continues; with a smaller "
            "workers=... if it happens again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def worker_count(wanted: int | None, faces: int) -> int:
    """Returns how many worker processes to start.

    Args:
        wanted: The number; None takes one per core if there is enough to do, and none in a script, which every process
            would run again unless its calls are under `if __name__ == "__main__"`.
        faces: How many faces there are.

    Raises:
        ConfigError: If `wanted` is negative.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if wanted is None:
        wanted = cores if cores > 1 and faces >= _WORTH_WORKERS and _can_spawn() else 0
    if wanted < 0:
        raise ConfigError(f"workers={wanted}: expected 0 (no processes) or more; null takes one per core.")
    return wanted if faces else 0


def _finished(item: Item, future: "Future[Any] | None") -> tuple[Item, Any]:
    return item, None if future is None else future.result()


def _can_spawn() -> bool:
    """Returns whether new processes do not run the main program again: it is a module (`pkdn`) or no file."""
    return getattr(sys.modules["__main__"], "__spec__", None) is not None or not _main_file()


def _main_file() -> str:
    return str(getattr(sys.modules["__main__"], "__file__", None) or "")


_work: Callable[[Any], Any]


def _begin(work: Callable[[Any], Any], began: Event) -> None:
    global _work  # set once per process
    _work = work
    began.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is killed; it would wait for more work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(item: Any) -> Any:
    return _work(item)
