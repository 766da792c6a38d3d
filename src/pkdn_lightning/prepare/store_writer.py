"""A store being made: it grows in `<path>.partial`, survives a kill at any moment, and moves into place when complete.

Every file only grows. `commit` makes what was added durable and then records the length of each file; a later run
truncates the files to those lengths and continues. So the bytes of a finished store do not depend on interruptions.

    hr.npy, parsing.npy, landmarks.npy, index.csv    as in the finished store
    rejects.csv                                      photographs that became no face, and why
    tried.bin                                        a byte per photograph, in order: ACCEPTED, REJECTED or SKIPPED
    state.json                                       the plan, and the length of each file at the last commit
"""

import csv
import errno
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Self

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pkdn_lightning.config.training_keys import flatten
from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.store import SCHEMA_VERSION, SPLITS, Entry
from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.files import file_sha256, read_json, write_json

HEADER_BYTES: Final = 128  # NumPy pads its header to this; it leaves room for any number of faces
SKIPPED, ACCEPTED, REJECTED = 0, 1, 2
INDEX_COLUMNS: Final = ("name", "split", "source", "identity")
REJECT_COLUMNS: Final = ("name", "split", "source", "reason", "detail")
SCAFFOLD: Final = ("tried.bin", "state.json")  # what a finished store no longer needs


class StoreWriter:
    """Writes a store face by face; use it as a context manager and end with `finish`.

    Leaving the block without `finish` keeps what was committed for the next time.

    Args:
        path: Where the finished store will be.
        name: The dataset's name.
        size_px: Side of the square faces.
        with_parsing: Whether every face comes with a parsing map.
        with_landmarks: Whether every face comes with 68 landmarks.
        provenance: How the data was made (source, crop rule, parser, licence), plain values for the manifest.
        plan: Plain values on which the store's bytes depend. An interrupted run of the same plan is continued; `tried`
            records its progress.

    Raises:
        DataError: If there is something at `path` already, another process is writing there, or an interrupted run
            had another plan: nothing is ever overwritten.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str,
        size_px: int = 128,
        with_parsing: bool = True,
        with_landmarks: bool = False,
        provenance: Mapping[str, Any] | None = None,
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.name, self.size_px = Path(path), name, size_px
        self.provenance = dict(provenance or {})
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.accepted: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self._rows: dict[str, tuple[tuple[int, ...], Any]] = {"hr": ((size_px, size_px, 3), np.uint8)}
        if with_parsing:
            self._rows["parsing"] = ((size_px, size_px), np.uint8)
        if with_landmarks:
            self._rows["landmarks"] = ((68, 2), np.float32)
        self.plan = {**(plan or {}), "name": name, "size_px": size_px, "arrays": list(self._rows)}
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.writing"))
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        with self._translate_errors(), ExitStack() as on_error:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise DataError(
                    f"Another process is writing {self.path}. Wait, or give another place: out=..."
                ) from error
            on_error.callback(self.__exit__)
            if self.path.exists():
                if (self.path / "manifest.json").exists() and read_state(self.path) is not None:
                    self._remove_scaffold()  # of a run killed when the store was in its place already
                refuse_existing(self.path)
            self._open()
            on_error.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_files()
        with suppress(OSError):  # while it is held, or another process's might be removed
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    @property
    def tried(self) -> int:
        """How many photographs were tried, in order."""
        return self._files["tried.bin"].tell()

    def add(
        self,
        entry: Entry,
        hr: NDArray[np.uint8],
        parsing: NDArray[np.uint8] | None = None,
        landmarks: NDArray[np.float32] | None = None,
    ) -> None:
        """Appends one face.

        Args:
            entry: Its row in the index.
            hr: (S, S, 3) uint8.
            parsing: (S, S) uint8, ids 0..18; required if the store has maps.
            landmarks: (68, 2) float32; required if the store has landmarks.

        Raises:
            DataError: If a label lies outside 0..18, the split is unknown, or a shape is not the store's.
        """
        if entry.split not in SPLITS:
            raise DataError(f"'{entry.name}': split '{entry.split}' is none of {', '.join(SPLITS)}.")
        if parsing is not None and int(parsing.max()) >= len(LABELS):
            raise DataError(f"'{entry.name}': parsing label {int(parsing.max())} is outside 0..{len(LABELS) - 1}.")
        given = {"hr": hr, "parsing": parsing, "landmarks": landmarks}
        for key, (shape, dtype) in self._rows.items():
            value = given[key]
            if value is None or value.shape != shape:
                found = "nothing" if value is None else f"shape {value.shape}"
                raise DataError(f"'{entry.name}': {key} has {found}, expected shape {shape}.")
            given[key] = np.ascontiguousarray(value, dtype=dtype)
        with self._translate_errors():
            for key in self._rows:
                self._files[f"{key}.npy"].write(given[key].data)  # type: ignore[union-attr]  # checked above
            self._files["index.csv"].write(csv_line(astuple(entry)))
            self._files["tried.bin"].write(bytes([ACCEPTED]))
        self.accepted[entry.split] += 1

    def reject(self, entry: Entry, why: Rejected) -> None:
        """Notes a photograph that became no face."""
        with self._translate_errors():
            self._files["rejects.csv"].write(csv_line((entry.name, entry.split, entry.source, why.reason, why.detail)))
            self._files["tried.bin"].write(bytes([REJECTED]))
        self.rejected[why.reason] += 1

    def skip(self) -> None:
        """Notes a photograph that is not needed because its split is full."""
        with self._translate_errors():
            self._files["tried.bin"].write(bytes([SKIPPED]))

    def commit(self) -> None:
        """Makes everything added so far survive a kill and a power cut."""
        with self._translate_errors():
            for file in self._files.values():
                _sync(file)
            self._write_state()

    def finish(self, describe: Callable[[Path, Mapping[str, Any]], None] | None = None) -> None:
        """Completes the files, gives them hashes and moves the folder into place.

        Args:
            describe: Called with the folder, whose arrays are complete, and the manifest; adds the card and sheets.

        Raises:
            DataError: If there is no face.
        """
        self.commit()
        if not self.accepted.total():
            why = ", ".join(f"{reason} {count}" for reason, count in self.rejected.most_common(4)) or "none was tried"
            with (self.partial / "rejects.csv").open(newline="", encoding="utf-8") as file:
                first = next(csv.DictReader(file), {"detail": "none"})["detail"]
            raise DataError(
                f"No photograph became a face ({why}), so no store was made.\nThe first reject: {first}\n"
                f"All of them: {file.name}"
            )
        self.seal()
        with self._translate_errors():
            hashed = [*(f"{key}.npy" for key in self._rows), "index.csv"]
            manifest = {
                "schema_version": SCHEMA_VERSION,
                "name": self.name,
                "labels": list(LABELS),
                "provenance": self.provenance,
                "splits": {split: self.accepted[split] for split in SPLITS},
                "rejected": dict(sorted(self.rejected.items())),
                "sha256": {file: file_sha256(self.partial / file) for file in hashed},
            }
            if describe is not None:
                describe(self.partial, manifest)
            write_json(self.partial / "manifest.json", manifest)  # last: without it a folder is not a store
            self.move()
            self._remove_scaffold()

    def seal(self) -> None:
        """Commits, closes the files, and writes the number of faces into the headers of the arrays."""
        self.commit()
        self._close_files()
        with self._translate_errors():
            for key, (shape, dtype) in self._rows.items():
                with (self.partial / f"{key}.npy").open("r+b") as file:
                    file.write(_header(dtype, (self.accepted.total(), *shape)))
                    _sync(file)

    def move(self) -> None:
        """Moves the folder into place."""
        with self._translate_errors():
            self.partial.replace(self.path)

    def _remove_scaffold(self) -> None:
        for name in SCAFFOLD:
            (self.path / name).unlink(missing_ok=True)

    def _open(self) -> None:
        state = self._saved_state() or self._begin()
        for name, committed in state["bytes"].items():
            path = self.partial / name
            if (size := path.stat().st_size if path.exists() else 0) < committed:
                raise DataError(
                    f"{path} has {size:,} bytes but {committed:,} were written: it was damaged since. "
                    f"Restore it, or remove {self.partial} to begin anew."
                )
            file = path.open("r+b")
            self._files[name] = file
            file.truncate(committed)
            file.seek(0, os.SEEK_END)
        self.accepted, self.rejected = Counter(state["accepted"]), Counter(state["rejected"])

    def _begin(self) -> dict[str, Any]:
        shutil.rmtree(self.partial, ignore_errors=True)  # of a run that committed nothing
        self.partial.mkdir(parents=True)
        first = {f"{key}.npy": _header(dtype, (0, *shape)) for key, (shape, dtype) in self._rows.items()}
        first |= {"index.csv": csv_line(INDEX_COLUMNS), "rejects.csv": csv_line(REJECT_COLUMNS), "tried.bin": b""}
        for name, content in first.items():
            (self.partial / name).write_bytes(content)
        return self._write_state()

    def _saved_state(self) -> dict[str, Any] | None:
        """Returns the state that an interrupted run of this plan left, or None to begin anew.

        Raises:
            DataError: If that run had another plan and holds faces.
        """
        state = read_state(self.partial)
        if state is None or not state["bytes"].get("tried.bin"):
            return None  # killed before it committed anything
        changes = [f"{key}: {there!r} there, {now!r} now" for key, there, now in differences(state["plan"], self.plan)]
        if not changes:
            return state
        if not (faces := sum(state["accepted"].values())):
            return None  # nothing is lost
        found = f"{self.partial} holds {faces:,} faces of an interrupted run with other options:"
        shown = "\n  ".join([found, *changes[:3]])
        raise DataError(f"{shown}\nContinue with its options, or remove that folder to begin anew.")

    def _write_state(self) -> dict[str, Any]:
        names = [*(f"{key}.npy" for key in self._rows), "index.csv", "rejects.csv", "tried.bin"]
        sizes = {name: (self.partial / name).stat().st_size for name in names}
        state = {"plan": self.plan, "bytes": sizes, "accepted": self.accepted, "rejected": self.rejected}
        write_json(self.partial / "state.json", state)
        return state

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(self.path.parent).free
                raise DataError(
                    f"The disk of {self.path.parent} is full ({free / 1e9:.1f} GB free). What was made is kept in "
                    f"{self.partial}: make room and run the same command again."
                ) from error
            raise DataError(f"{self.partial} could not be written: {error}. Run the same command again.") from error

    def _close_files(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # closing writes only what was not committed
                file.close()
        self._files.clear()


def refuse_existing(path: Path) -> None:
    """Checks that there is nothing at a path.

    Raises:
        DataError: If there is something: nothing is ever overwritten.
    """
    if path.exists():
        raise DataError(f"{path} exists already and is kept. Give another place (out=...) or remove it.")


def read_state(folder: Path) -> dict[str, Any] | None:
    """Returns the plan, lengths and counts at the last commit in a folder, or None if they cannot be read."""
    state = read_json(folder / "state.json")
    return state if all(isinstance(state.get(key), dict) for key in ("plan", "bytes", "accepted", "rejected")) else None


def differences(plan: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns the names of values that differ between two plans, and both values; `a.b` is `b` within `a`."""
    plain = (json.loads(json.dumps(each)) for each in (plan, other))
    a, b = ({key: value for key, value in flatten(each) if value != {}} for each in plain)
    return [(key, a.get(key), b.get(key)) for key in {**a, **b} if a.get(key) != b.get(key)]


def csv_line(values: tuple[str, ...]) -> bytes:
    """Returns one line of CSV; line breaks within a value become spaces, so that a line is a row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([" ".join(str(value).splitlines()) for value in values])
    return text.getvalue().encode("utf-8", errors="backslashreplace")  # a file name may be no valid Unicode


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _header(dtype: Any, shape: tuple[int, ...]) -> bytes:
    """Returns a header of NumPy's format 1.0, of the same length whatever the number of rows is."""
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    text = repr(description).encode("latin1")
    length = HEADER_BYTES - len(np.lib.format.magic(1, 0)) - 2
    return np.lib.format.magic(1, 0) + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"
