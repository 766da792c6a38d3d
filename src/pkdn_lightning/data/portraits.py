"""The included portraits: 1,016 public-domain faces that come with the package, in `portraits.zip`.

    <split>/<name>.jpg     (128, 128, 3) faces
    parsing.npy            (N, 128, 128) uint8 label ids, in the images' order
    landmarks.npy          (N, 68, 2) int16 pixels, in the images' order

`prepare.sources.portraits` says where they come from and makes a store of them.
"""

import io
import lzma
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.store import SPLITS
from pkdn_lightning.errors import DataError
from pkdn_lightning.files import whole_file

PACKED: Final = Path(__file__).with_name("portraits.zip")
SIZE_PX: Final = 128


class Portrait(NamedTuple):
    """One of the portraits.

    Attributes:
        hr: (S, S, 3) uint8 RGB.
        parsing: (S, S) uint8 label ids.
        landmarks: (68, 2) float32 in iBUG order, x then y, in pixels, pixel centres at integers.
        name: Its name, a Bioguide id.
    """

    hr: NDArray[np.uint8]
    parsing: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    name: str


def names(split: str) -> list[str]:
    """Returns the names of a split's portraits, in order: 856 in `train`, 60 in `val`, 100 in `test`.

    Raises:
        DataError: If the packed file is missing or damaged.
    """
    return [name for each, name in _opened().rows if each == split]


def portrait(split: str, name: str, size_px: int = SIZE_PX) -> Portrait:
    """Returns one portrait; see `portraits`."""
    packed = _opened()
    with _explained():
        hr, parsing, points = packed.face(split, name)
    landmarks = points.astype(np.float32)
    if size_px != SIZE_PX:
        size, scale = (size_px, size_px), size_px / SIZE_PX
        hr = hr.resize(size, Image.Resampling.BICUBIC)
        parsing = np.array(Image.fromarray(parsing).resize(size, Image.Resampling.NEAREST))
        landmarks = np.float32(scale) * (landmarks + np.float32(0.5)) - np.float32(0.5)
    return Portrait(np.array(hr), parsing, landmarks, name)


def portraits(split: str, count: int | None = None, size_px: int = SIZE_PX) -> list[Portrait]:
    """Returns the first portraits of a split.

    Args:
        split: `train`, `val` or `test`; no person is in two of them.
        count: How many; None returns all, and so does a number larger than the split.
        size_px: Side of the faces; other sizes than 128 are made by bicubic, of the maps by nearest, interpolation.

    Raises:
        DataError: If the packed file is missing or damaged.

    Example:
        >>> [face] = portraits("test", 1, size_px=32)
        >>> face.hr.shape, face.parsing.shape, face.landmarks.shape
        ((32, 32, 3), (32, 32), (68, 2))
    """
    return [portrait(split, name, size_px) for name in names(split)[:count]]


class _Packed:
    """The packed file, opened. Its maps are unpacked together, in a tenth of a second."""

    def __init__(self, file: Path) -> None:
        self._archive = zipfile.ZipFile(file)
        images = [Path(name) for name in self._archive.namelist() if name.endswith(".jpg")]
        self.rows = {(image.parent.name, image.stem): row for row, image in enumerate(images)}
        self._parsing: NDArray[np.uint8] = np.load(io.BytesIO(self._archive.read("parsing.npy")))
        self._landmarks: NDArray[np.int16] = np.load(io.BytesIO(self._archive.read("landmarks.npy")))

    def face(self, split: str, name: str) -> tuple[Image.Image, NDArray[np.uint8], NDArray[np.int16]]:
        """Returns image, parsing map and landmarks of one face."""
        row = self.rows[split, name]
        with Image.open(io.BytesIO(self._archive.read(f"{split}/{name}.jpg"))) as image:
            return image.convert("RGB"), self._parsing[row].copy(), self._landmarks[row]


@cache
def _opened() -> _Packed:
    with _explained():
        return _Packed(PACKED)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, lzma.LZMAError, RuntimeError) as error:
        raise DataError(
            f"The included portraits cannot be read: {PACKED}: {error}.\n"
            "The installation is damaged: pip install --force-reinstall pkdn-lightning"
        ) from error


def pack(faces: Path, landmarks: Mapping[str, NDArray[np.float32]], file: Path) -> None:
    """Packs a folder of ready faces (`<split>/images/NAME.jpg`, `<split>/parsing/NAME.png`).

    Args:
        faces: The folder.
        landmarks: (68, 2) pixels of each face, by `<split>/NAME`.
        file: The packed file.
    """
    images = [image for split in SPLITS for image in sorted((faces / split / "images").iterdir())]
    maps = [np.asarray(Image.open(image.parents[1] / "parsing" / f"{image.stem}.png")) for image in images]
    faces_of = [f"{image.parents[1].name}/{image.stem}" for image in images]
    assert max(map(np.max, maps)) < len(LABELS)
    arrays = {"parsing": np.stack(maps), "landmarks": np.stack([landmarks[name] for name in faces_of]).astype(np.int16)}
    with whole_file(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, image in zip(faces_of, images, strict=True):
            archive.writestr(_member(f"{name}.jpg"), image.read_bytes())
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(_member(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))  # the same bytes whenever it is packed
