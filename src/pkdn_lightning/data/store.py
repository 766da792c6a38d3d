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
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.remote import fetch_store, is_remote
from pkdn_lightning.errors import DataError
from pkdn_lightning.file_schema import check_contents
from pkdn_lightning.files import file_sha256, read_json, write_json

SCHEMA_VERSION: Final = 1
SPLITS: Final = ("train", "val", "test")
ARRAYS: Final = {
    "hr": (np.uint8, ("N", "S", "S", 3)),
    "parsing": (np.uint8, ("N", "S", "S")),
    "landmarks": (np.float32, ("N", 68, 2)),
}
"""Type and shape of each array; `N` faces of `S` px."""
_MANIFEST: Final = {
    "schema_version": (SCHEMA_VERSION,),
    "name": str,
    "labels": [str],
    "provenance": dict,
    "splits": dict.fromkeys(SPLITS, range(2**31)),
    "rejected?": {str: int},
    "sha256": {"hr.npy": str, "index.csv": str, "parsing.npy?": str, "landmarks.npy?": str},
}
"""The schema of `manifest.json`; see `file_schema`."""
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
        entries = read_index(path)
        listed = Counter(entry.split for entry in entries)
        if any(listed[split] != count for split, count in manifest["splits"].items()):
            found, expected = (dict(listed), manifest["splits"])
            raise DataError(f"{path / 'index.csv'} lists the faces {found}, but manifest.json {expected}. {_REMEDY}")
        return cls(path, manifest, entries, **open_arrays(path, manifest["sha256"], len(entries)))

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
            way = " To train without validation: trainer.limit_val_batches=0" if split == "val" else ""
            raise DataError(f"The store {self.path} has no faces in split '{split}'. It has: {counts}.{way}")
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
    for key in open_arrays(path, manifest["sha256"]):
        for block in blocks(path / f"{key}.npy") if key != "hr" else ():
            if key == "parsing":
                check_labels(block, path / "parsing.npy")
            elif not np.isfinite(block).all():
                raise DataError(f"{path / f'{key}.npy'} holds numbers that are not finite. {_REMEDY}")
    return manifest


def check_labels(labels: NDArray[np.uint8], origin: object) -> None:
    """Checks that parsing maps hold labels only.

    Raises:
        DataError: If there is a number above 18.
    """
    if labels.size and (largest := int(labels.max())) >= len(LABELS):
        raise DataError(f"{origin} holds the label {largest}, expected 0 to {len(LABELS) - 1}. {_REMEDY}")


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
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read ({error}). {_REMEDY}") from error
    version = manifest.get("schema_version", SCHEMA_VERSION) if isinstance(manifest, dict) else SCHEMA_VERSION
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise DataError(f"{path} has store version {version}; this package reads version {SCHEMA_VERSION}.")
    check_contents(manifest, _MANIFEST, file, DataError, _REMEDY)
    if tuple(manifest["labels"]) != LABELS:
        raise DataError(f"{file} lists other labels than those of CelebAMask-HQ ({', '.join(LABELS)}). {_REMEDY}")
    return dict(manifest)


def read_index(path: Path) -> tuple[Entry, ...]:
    """Returns the rows of a store's `index.csv`.

    Raises:
        DataError: If it cannot be read, or its columns or splits are not those of an index.
    """
    file, columns = path / "index.csv", list(Entry.__dataclass_fields__)
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            if (found := reader.fieldnames) != columns:
                raise DataError(
                    f"{file} has the columns {', '.join(found or ())}; expected {', '.join(columns)}. {_REMEDY}"
                )
            entries = []
            for row in reader:
                if None in row or None in row.values() or row["split"] not in SPLITS:
                    raise DataError(
                        f"{file}, line {reader.line_num}: found {list(row.values())}; expected {', '.join(columns)}, "
                        f"with a split of {', '.join(SPLITS)}. {_REMEDY}"
                    )
                # Interned: a large store repeats its splits and sources many times.
                entries.append(Entry(**{key: sys.intern(value) for key, value in row.items()}))
            return tuple(entries)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read ({error}). {_REMEDY}") from error


def open_arrays(path: Path, files: Container[str], faces: int | None = None) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a store, memory-mapped, each of the right type and shape.

    Args:
        path: The store's folder.
        files: Names of its files.
        faces: How many faces there have to be; as many as in `hr.npy` if None.

    Raises:
        DataError: If an array cannot be read or is another.
    """
    opened: dict[str, NDArray[Any]] = {}
    for key, (dtype, axes) in ARRAYS.items():
        if f"{key}.npy" in files:
            array = _open_array(path / f"{key}.npy")
            hr = opened.get("hr", array)
            sides = {"N": len(hr) if faces is None and hr.ndim else faces, "S": hr.shape[1] if hr.ndim > 1 else "S"}
            expected = tuple(sides.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)
            if array.dtype != dtype or array.shape != expected or not array.flags.c_contiguous:
                raise DataError(
                    f"{path / f'{key}.npy'} holds {array.dtype} of shape {array.shape}; expected "
                    f"{np.dtype(dtype)} of shape ({', '.join(map(str, expected))}). {_REMEDY}"
                )
            opened[key] = array
    return opened


def _open_array(file: Path) -> NDArray[Any]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy raises various errors for files that are no arrays
        raise DataError(f"{file} cannot be read ({error}). {_REMEDY}") from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{file} is an archive of arrays, expected one array. {_REMEDY}")
    return array
