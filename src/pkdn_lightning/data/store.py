"""The store: one folder per dataset, in plain NumPy arrays.

    hr.npy         uint8   (N, S, S, 3)   RGB faces
    parsing.npy    uint8   (N, S, S)      label ids 0..18 (see `data.labels`); optional
    landmarks.npy  float32 (N, 68, 2)     x, y in pixels; optional
    index.csv      name, split, source, identity
    manifest.json  schema version, label set, provenance, counts per split, SHA-256 of each file

It is the interface between preparation and training. Further files (rejects.csv, duplicates.csv, card.md, contact
sheets) document the preparation.
"""

import contextlib
import csv
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.remote import fetch_store, is_remote
from pkdn_lightning.errors import DataError
from pkdn_lightning.files import file_sha256, read_json, write_json

SCHEMA_VERSION: Final = 1
SPLITS: Final = ("train", "val", "test")
_STAMP: Final = ".verified.json"
_REMEDY: Final = "Restore it from a copy, or prepare the store again in another folder."


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of `index.csv`.

    Attributes:
        name: Unique within its split, usually the file's stem.
        split: `train`, `val` or `test`.
        source: Origin of the face, e.g. its path inside the publisher's archive.
        identity: The person, or empty if unknown.
    """

    name: str
    split: str
    source: str = ""
    identity: str = ""


@dataclass(frozen=True)
class FaceStore:
    """A complete store, opened for reading. The arrays are memory-mapped.

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
            path: The store's folder, or its URL, which is downloaded into a local cache (`data.remote`).
            verify: Compares every file with its hash, unless it has not changed since the last verification.

        Raises:
            DataError: If there is no store, it is incomplete, of another version, or its files changed.
        """
        path = _local(path)
        manifest = _read_manifest(path)
        if verify:
            _verify_once(path, manifest)
        store = cls(
            path,
            manifest,
            read_index(path),
            _open_array(path, "hr"),
            _open_array(path, "parsing") if "parsing.npy" in manifest["sha256"] else None,
            _open_array(path, "landmarks") if "landmarks.npy" in manifest["sha256"] else None,
        )
        if len(store.hr) != len(store.entries):
            raise DataError(f"{path} holds {len(store.hr)} faces but index.csv lists {len(store.entries)}. {_REMEDY}")
        return store

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """`hr`, and `parsing` and `landmarks` where the store has them."""
        arrays = {"hr": self.hr, "parsing": self.parsing, "landmarks": self.landmarks}
        return {name: array for name, array in arrays.items() if array is not None}

    @property
    def name(self) -> str:
        """The dataset's name."""
        return str(self.manifest["name"])

    @property
    def sha256(self) -> str:
        """The hash of all file hashes."""
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


def verify_store(path: str | Path) -> Mapping[str, Any]:
    """Compares every file of a store with its hash and returns the manifest.

    Raises:
        DataError: If there is no store, or a file is missing or changed; the message names it.
    """
    path = _local(path)
    manifest = _read_manifest(path)
    for name, expected in manifest["sha256"].items():
        file = path / name
        if not file.is_file():
            raise DataError(f"{path} is incomplete: {name} is missing. {_REMEDY}")
        if (found := file_sha256(file)) != expected:
            difference = f"SHA-256 {found[:12]}..., expected {expected[:12]}..."
            raise DataError(f"{file} is not the file that was prepared: {difference}. {_REMEDY}")
    return manifest


def _local(path: str | Path) -> Path:
    return fetch_store(str(path)) if is_remote(path) else Path(path)


def _verify_once(path: Path, manifest: Mapping[str, Any]) -> None:
    """Verifies a store unless the stamp file records the current sizes and modification times."""
    files = [path / name for name in (*manifest["sha256"], "manifest.json")]
    state = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()}
    if read_json(path / _STAMP) != state:
        verify_store(path)
        with contextlib.suppress(OSError):  # a read-only store is verified each time
            write_json(path / _STAMP, state)


def blocks(file: Path, rows: int = 256) -> Iterator[NDArray[Any]]:
    """Yields the rows of an array on disk in blocks, without a memory map, whose pages would count as used memory."""
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    shape, dtype, begin = array.shape, array.dtype, array.offset
    del array
    with file.open("rb") as opened:
        opened.seek(begin)
        for start in range(0, shape[0], rows):
            flat = np.fromfile(opened, dtype, min(rows, shape[0] - start) * int(np.prod(shape[1:])))
            yield flat.reshape(-1, *shape[1:])


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / "manifest.json"
    if not file.is_file():
        found = "it does not exist" if not path.exists() else "no manifest.json in it"
        raise DataError(f"No store at {path}: {found}.")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} cannot be read ({error}). {_REMEDY}") from error
    if version != SCHEMA_VERSION:
        raise DataError(f"{path} has store version {version}; this package reads version {SCHEMA_VERSION}.")
    return manifest


def read_index(path: Path) -> tuple[Entry, ...]:
    """Returns the rows of a store's `index.csv`."""
    with (path / "index.csv").open(newline="", encoding="utf-8") as file:
        rows: Iterable[dict[str, str]] = csv.DictReader(file)
        # Interned: a large store repeats its splits and sources many times.
        return tuple(Entry(**{key: sys.intern(value) for key, value in row.items()}) for row in rows)


def _open_array(path: Path, key: str) -> NDArray[Any]:
    file = path / f"{key}.npy"
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}). {_REMEDY}") from error
