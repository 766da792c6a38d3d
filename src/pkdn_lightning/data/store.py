"""The store: one folder per dataset, plain NumPy arrays that anyone can read with three lines.

    hr.npy         uint8   (N, S, S, 3)   RGB faces
    parsing.npy    uint8   (N, S, S)      label ids 0..18 (see `data.parsing`); absent where no map was made
    landmarks.npy  float32 (N, 68, 2)     x, y in pixels; absent where none were made
    index.csv      name, split, source, identity
    manifest.json  schema version, label set, provenance, counts per split, SHA-256 of each file

Preparation ends here and training begins here: this is the wall between the two. A store is written beside its
place and moved there when it is whole, so that a half-made one is never mistaken for a finished one.
"""

import csv
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.parsing import LABELS
from pkdn_lightning.errors import DataError

SCHEMA_VERSION: Final = 1
SPLITS: Final = ("train", "val", "test")
_STAMP: Final = ".verified.json"


@dataclass(frozen=True)
class Entry:
    """One row of `index.csv`.

    Attributes:
        name: Unique within its split, usually the file's stem.
        split: `train`, `val` or `test`.
        source: Where the face came from, e.g. the path inside the publisher's archive.
        identity: Who it is, where known; empty otherwise.
    """

    name: str
    split: str
    source: str = ""
    identity: str = ""


@dataclass(frozen=True)
class FaceStore:
    """A finished store, opened for reading. Arrays are memory maps: memory stays constant whatever N is.

    Attributes:
        path: The folder.
        manifest: Contents of `manifest.json`.
        entries: Rows of `index.csv`, in the arrays' order.
        hr: RGB faces, (N, S, S, 3) uint8.
        parsing: Label ids, (N, S, S) uint8, or None.
        landmarks: (N, 68, 2) float32, or None.
    """

    path: Path
    manifest: Mapping[str, Any]
    entries: tuple[Entry, ...]
    hr: NDArray[np.uint8]
    parsing: NDArray[np.uint8] | None = field(default=None)
    landmarks: NDArray[np.float32] | None = field(default=None)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Opens a store.

        Args:
            path: The store's folder.
            verify: Compares every file with its hash, unless that was done before and no file has changed since.

        Raises:
            DataError: If there is no store, it is incomplete, from another version, or its files changed.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        if verify:
            _verify_once(path, manifest)
        store = cls(
            path,
            manifest,
            _read_index(path),
            _open_array(path, "hr"),
            _open_array(path, "parsing") if "parsing.npy" in manifest["sha256"] else None,
            _open_array(path, "landmarks") if "landmarks.npy" in manifest["sha256"] else None,
        )
        if len(store.hr) != len(store.entries):
            raise DataError(f"{path} holds {len(store.hr)} faces but index.csv names {len(store.entries)}.")
        return store

    @property
    def name(self) -> str:
        """The dataset's name."""
        return str(self.manifest["name"])

    @property
    def sha256(self) -> str:
        """One hash for the whole store: that of its files' hashes."""
        return hashlib.sha256(json.dumps(self.manifest["sha256"], sort_keys=True).encode()).hexdigest()

    @property
    def size_px(self) -> int:
        """Side of the square faces."""
        return int(self.hr.shape[1])

    def indices(self, split: str) -> NDArray[np.int64]:
        """Returns the rows of a split, in order.

        Raises:
            DataError: If the split is empty.
        """
        rows = np.array([i for i, entry in enumerate(self.entries) if entry.split == split], dtype=np.int64)
        if not len(rows):
            counts = ", ".join(f"{name} {count}" for name, count in self.manifest["splits"].items())
            raise DataError(f"The store {self.path} has no faces in split '{split}'. It has: {counts}.")
        return rows


class StoreWriter:
    """Writes a store face by face; use it as a context manager.

    The arrays grow in `<path>.partial`, which becomes `<path>` when the `with` block ends without an error and is
    removed when it ends with one.

    Args:
        path: Where the finished store will be.
        name: The dataset's name.
        count: Number of faces that will be written.
        size_px: Side of the square faces.
        with_parsing: Whether every face comes with a parsing map.
        with_landmarks: Whether every face comes with 68 landmarks.
        provenance: Plain values that say how the data was made (source, crop rule, parser, licence); kept in the
            manifest.

    Raises:
        DataError: If there is something at `path` already: nothing is ever overwritten.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str,
        count: int,
        size_px: int = 128,
        with_parsing: bool = True,
        with_landmarks: bool = False,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise DataError(
                f"{self.path} exists already and is left as it is. Give another place (out=...), or remove it first."
            )
        self.name, self.provenance = name, dict(provenance or {})
        self._partial = self.path.with_name(self.path.name + ".partial")
        shutil.rmtree(self._partial, ignore_errors=True)  # what a killed run left; it was never a store
        self._partial.mkdir(parents=True)
        self._entries: list[Entry] = []
        shapes: dict[str, tuple[tuple[int, ...], type]] = {"hr": ((count, size_px, size_px, 3), np.uint8)}
        if with_parsing:
            shapes["parsing"] = ((count, size_px, size_px), np.uint8)
        if with_landmarks:
            shapes["landmarks"] = ((count, 68, 2), np.float32)
        self._arrays = {
            key: np.lib.format.open_memmap(self._partial / f"{key}.npy", mode="w+", dtype=dtype, shape=shape)
            for key, (shape, dtype) in shapes.items()
        }

    def __enter__(self) -> Self:
        return self

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
            DataError: If a label lies outside 0..18 or the split is unknown.
        """
        if entry.split not in SPLITS:
            raise DataError(f"'{entry.name}': split '{entry.split}' is none of {', '.join(SPLITS)}.")
        if parsing is not None and int(parsing.max()) >= len(LABELS):
            raise DataError(f"'{entry.name}': parsing label {int(parsing.max())} is outside 0..{len(LABELS) - 1}.")
        row = len(self._entries)
        for key, value in {"hr": hr, "parsing": parsing, "landmarks": landmarks}.items():
            if key in self._arrays:
                self._arrays[key][row] = value
        self._entries.append(entry)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()
        else:
            self._arrays.clear()
            shutil.rmtree(self._partial, ignore_errors=True)

    def _finish(self) -> None:
        promised = len(self._arrays["hr"])
        if len(self._entries) != promised:
            raise DataError(f"{self.path}: {promised} faces were promised, {len(self._entries)} came.")
        for array in self._arrays.values():
            array.flush()
        files = [f"{key}.npy" for key in self._arrays]
        self._arrays.clear()
        with (self._partial / "index.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["name", "split", "source", "identity"], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(entry) for entry in self._entries)
        counts = Counter(entry.split for entry in self._entries)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "labels": list(LABELS),
            "provenance": self.provenance,
            "splits": {split: counts[split] for split in SPLITS},
            "sha256": {file: file_sha256(self._partial / file) for file in [*files, "index.csv"]},
        }
        (self._partial / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        self._partial.replace(self.path)


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify_store(path: str | Path) -> Mapping[str, Any]:
    """Compares every file of a store with its hash and returns the manifest.

    Raises:
        DataError: If there is no store, or a file is missing or changed; the message names it.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    for name, expected in manifest["sha256"].items():
        file = path / name
        if not file.is_file():
            raise DataError(f"{path} is incomplete: {name} is missing. Prepare the store anew in another place.")
        found = file_sha256(file)
        if found != expected:
            raise DataError(
                f"{file} is not the file that was prepared: SHA-256 {found[:12]}..., the manifest says "
                f"{expected[:12]}.... Restore it, or prepare the store anew in another place."
            )
    return manifest


def _verify_once(path: Path, manifest: Mapping[str, Any]) -> None:
    """Verifies a store unless a stamp says that these very files were verified before."""
    state = {name: _file_state(path / name) for name in [*manifest["sha256"], "manifest.json"]}
    stamp = path / _STAMP
    try:
        if json.loads(stamp.read_text(encoding="utf-8")) == state:
            return
    except (OSError, ValueError):
        pass  # no stamp, or one that cannot be read: verify
    verify_store(path)
    try:
        temporary = stamp.with_name(f"{_STAMP}.{os.getpid()}")
        temporary.write_text(json.dumps(state), encoding="utf-8")
        temporary.replace(stamp)
    except OSError:
        pass  # a read-only store is verified each time


def _file_state(file: Path) -> list[int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        found = "nothing there" if not path.exists() else "no manifest.json in it"
        raise DataError(f"No store at {path}: {found}.")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}). Prepare the store anew in another place.") from error
    if version != SCHEMA_VERSION:
        raise DataError(f"{path} has store version {version}; this package reads version {SCHEMA_VERSION}.")
    return manifest


def _read_index(path: Path) -> tuple[Entry, ...]:
    with (path / "index.csv").open(newline="", encoding="utf-8") as file:
        rows: Iterable[dict[str, str]] = csv.DictReader(file)
        return tuple(Entry(**row) for row in rows)


def _open_array(path: Path, key: str) -> NDArray[Any]:
    file = path / f"{key}.npy"
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}). Prepare the store anew in another place.") from error
