"""Faces with parsing maps in one small file, to carry them to a host without network; and stores made of it.

The faces lie as `data=folder` expects them, one folder per set: `<set>/<split>/images/NAME.jpg`,
`<set>/<split>/parsing/NAME.png`. The file is a `tar.xz` with the JPEG files unchanged, and all maps of a split in one
array: the headers that JPEG files share, and maps, shrink most when they are compressed together.
"""

import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import SPLITS, Entry
from pkdn_lightning.errors import DataError
from pkdn_lightning.files import whole_file
from pkdn_lightning.prepare.store_writer import StoreWriter

SETS: Final = {"celeba": SPLITS, "celebamask_hq": ("test",), "helen": ("test",)}
"""What is packed: one set to train on, and the test splits of the others."""
_MAPS: Final = "parsing.npy"
_UNREADABLE: Final = (OSError, EOFError, ValueError, KeyError, tarfile.TarError, lzma.LZMAError)


def pack(faces: Path, file: Path, train: int | None = None) -> dict[str, int]:
    """Packs the faces of a folder, and returns their number by `<set>/<split>`.

    Args:
        faces: The folder of the sets.
        file: The packed file.
        train: The first faces of each training split; all if None.

    Raises:
        DataError: If a set is missing or a face has no parsing map.
    """
    counts = {}
    with whole_file(file) as temporary, tarfile.open(temporary, "w:xz") as archive:
        for name, splits in SETS.items():
            for split in splits:
                images = sorted((faces / name / split / "images").glob("*.jpg"))[: train if split == "train" else None]
                maps = [image.parents[1] / "parsing" / f"{image.stem}.png" for image in images]
                if missing := [each for each in maps if not each.is_file()] or not images:
                    found = f"{missing[0]} is missing" if images else "no images there"
                    raise DataError(f"{faces / name / split}: {found}. Expected images/NAME.jpg, parsing/NAME.png.")
                for image in images:
                    _add(archive, f"{name}/{split}/{image.name}", image.read_bytes())
                content = io.BytesIO()
                np.save(content, np.stack([np.asarray(Image.open(each)) for each in maps]))
                _add(archive, f"{name}/{split}/{_MAPS}", content.getvalue())
                counts[f"{name}/{split}"] = len(images)
    return counts


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def check_packed(file: Path) -> None:
    """Reads the beginning of a packed file.

    Raises:
        DataError: If there is no such file, or `pack` did not write it.
    """
    if not file.is_file():
        raise DataError(
            f"{file}: there is no such file. Make it where the faces are: campaign.py pack FACES {file.name}"
        )
    try:
        with tarfile.open(file, "r:xz") as archive:
            first = getattr(archive.next(), "name", "nothing")
    except _UNREADABLE as error:
        raise _damaged(file, error) from None
    if first.split("/")[0] not in SETS:
        raise _damaged(file, f"it begins with {first}")


def _damaged(file: Path, found: object) -> DataError:
    return DataError(
        f"{file} is no file of packed faces, or is damaged: {found}. Make it again: campaign.py pack FACES {file.name}"
    )


def make_stores(file: Path | None, folder: Path, count: int | None = None) -> dict[str, Path]:
    """Makes a store of each packed set and one of the included portraits, unless it is there already.

    Args:
        file: The packed file; None makes that of the portraits only.
        folder: Where the stores are made.
        count: The first portraits of each split; all if None.

    Returns:
        The stores by the name of the set; the first one is to be trained on.

    Raises:
        DataError: If the packed file is damaged.
    """
    sets = [*(SETS if file else ()), "portraits"]
    paths = {name: folder / name for name in sets}
    if file and not all((paths[name] / "manifest.json").is_file() for name in SETS):
        for name, rows in _unpacked(file):
            if not (paths[name] / "manifest.json").is_file():
                _write(paths[name], rows)
    if not (paths["portraits"] / "manifest.json").is_file():
        faces = [(split, face) for split in SPLITS for face in portraits(split, count)]
        _write(paths["portraits"], [(Entry(face.name, split), face.hr, face.parsing) for split, face in faces])
    return paths


_Rows = list[tuple[Entry, NDArray[np.uint8], NDArray[np.uint8]]]


def _unpacked(file: Path) -> Iterator[tuple[str, _Rows]]:
    """Yields each set with its faces, in order."""
    try:
        yield from _sets(file)
    except _UNREADABLE as error:
        raise _damaged(file, error) from None


def _sets(file: Path) -> Iterator[tuple[str, _Rows]]:
    with tarfile.open(file, "r:xz") as archive:
        images: list[tuple[str, NDArray[np.uint8]]] = []
        sets: dict[str, _Rows] = {}
        for member in archive:
            name, split, base = member.name.split("/")
            content = io.BytesIO(archive.extractfile(member).read())  # type: ignore[union-attr]  # a file
            if base != _MAPS:
                images.append((Path(base).stem, np.asarray(Image.open(content).convert("RGB"))))
                continue
            rows = zip(images, np.load(content), strict=True)
            sets.setdefault(name, []).extend((Entry(stem, split), hr, parsing) for (stem, hr), parsing in rows)
            images = []
            if split == SETS[name][-1]:
                yield name, sets.pop(name)


def _write(path: Path, rows: _Rows) -> None:
    with StoreWriter(path, name=path.name, provenance={"source": "packed_faces"}) as writer:
        for entry, hr, parsing in rows:
            writer.add(entry, hr, parsing)
        writer.finish()
