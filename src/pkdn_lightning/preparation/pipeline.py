"""What every source passes through on its way into a store."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pkdn_lightning.data.store import Entry, FaceStore, StoreWriter
from pkdn_lightning.errors import DataError

_SHOWN = 5
_AHEAD = 64  # faces read ahead of the writer: enough to keep the threads busy, few enough to fit anywhere


class Face(NamedTuple):
    """One face on its way into a store.

    Attributes:
        hr: (S, S, 3) uint8 RGB.
        parsing: (S, S) uint8 label ids, or None.
        landmarks: (68, 2) float32 pixels, or None.
    """

    hr: NDArray[np.uint8]
    parsing: NDArray[np.uint8] | None = None
    landmarks: NDArray[np.float32] | None = None


class Source(Protocol):
    """A dataset that can be turned into a store.

    Attributes:
        size_px: Side of the faces it delivers.
        with_parsing: Whether every face comes with a parsing map.
        with_landmarks: Whether every face comes with landmarks.
    """

    size_px: int
    with_parsing: bool
    with_landmarks: bool

    def entries(self) -> Sequence[Entry]:
        """Returns what the store will hold, in order.

        Raises:
            DataError: If there is nothing to prepare, or names do not pair up.
        """

    def read(self, entry: Entry) -> Face:
        """Returns one face. May be called from several threads.

        Raises:
            DataError: If this face cannot be used; the message says why.
        """

    def provenance(self) -> dict[str, Any]:
        """Returns plain values that say how the data was made, for the manifest."""


def prepare_store(source: Source, path: Path, *, name: str, progress: bool = True) -> FaceStore:
    """Turns a source into a store and returns it, verified.

    Every face is tried before anything fails, so one run names every problem.

    Args:
        source: Where the faces come from.
        path: Where the store will be.
        name: The dataset's name.
        progress: Shows a progress bar.

    Raises:
        DataError: If a face cannot be used. Nothing is left at `path`; the whole list of problems is written to
            `<path>.problems.txt`.
    """
    entries = source.entries()
    problems: list[str] = []
    try:
        with StoreWriter(
            path,
            name=name,
            count=len(entries),
            size_px=source.size_px,
            with_parsing=source.with_parsing,
            with_landmarks=source.with_landmarks,
            provenance=source.provenance(),
        ) as writer:
            for entry, face in _read_all(source, entries, problems, progress):
                writer.add(entry, *face)
            if problems:
                raise DataError(_report(problems, len(entries), path))
    except OSError as error:
        raise DataError(f"{path} could not be written: {error}. Nothing was left there.") from error
    return FaceStore.open(path)


def _read_all(
    source: Source, entries: Sequence[Entry], problems: list[str], progress: bool
) -> Iterator[tuple[Entry, Face]]:
    def attempt(entry: Entry) -> Face | str:
        try:
            return source.read(entry)
        except DataError as error:
            return str(error)

    for entry, face in zip(entries, _ordered_map(attempt, entries, progress), strict=True):
        if isinstance(face, str):
            problems.append(face)
        else:
            yield entry, face


def _ordered_map(
    function: Callable[[Entry], Face | str], entries: Sequence[Entry], progress: bool
) -> Iterator[Face | str]:
    """Yields results in order, computed by threads a little ahead of whoever asks."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with ThreadPoolExecutor() as pool, Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("preparing faces", total=len(entries))
        waiting = [pool.submit(function, entry) for entry in entries[:_AHEAD]]
        for number in range(len(entries)):
            result = waiting.pop(0).result()
            if number + _AHEAD < len(entries):
                waiting.append(pool.submit(function, entries[number + _AHEAD]))
            bar.advance(task)
            yield result


def _report(problems: list[str], total: int, path: Path) -> str:
    file = path.with_name(f"{path.name}.problems.txt")
    file.write_text("\n".join(problems) + "\n", encoding="utf-8")
    shown = "\n  ".join(problems[:_SHOWN])
    more = f"\n  ... all of them are in {file}" if len(problems) > _SHOWN else ""
    return f"{len(problems)} of {total} faces cannot be used, so no store was made:\n  {shown}{more}"
