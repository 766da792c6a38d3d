"""The included portraits: public-domain faces that come with the package and need no download."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.store import SPLITS, Entry
from pkdn_lightning.errors import DataError
from pkdn_lightning.files import whole_file
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.values import Natural, Range

PACKED: Final = Path(__file__).with_name("portraits.zip")
"""`<split>/<name>.jpg`; `parsing.npy` (N, S, S) uint8 and `landmarks.npy` (N, 68, 2) int16, in the images' order."""
_SIZE_PX: Final = 128


class PortraitsSource:
    """1,016 official portraits of members of the US Congress, with parsing maps and 68 landmarks.

    Args:
        train: Faces of the training split, the first ones; None takes all 856.
        val: Faces of the validation split; None takes all 60.
        test: Faces of the test split; None takes all 100.
        size_px: Side of the faces; below 128 they are reduced.
    """

    included = True
    with_parsing = True
    with_landmarks = True
    terms: ClassVar[Mapping[str, str]] = {
        "licence": "public domain: works of the US government",
        "terms": "official portraits, collected by the project unitedstates/images and taken as public domain, as it "
        "states; to have a picture taken out, open an issue with its name (its Bioguide id)",
        "homepage": "https://github.com/unitedstates/images",
    }

    def __init__(
        self,
        *,
        train: Natural | None = None,
        val: Natural | None = None,
        test: Natural | None = None,
        size_px: Annotated[int, Range(8, _SIZE_PX)] = _SIZE_PX,
    ) -> None:
        self.counts = {"train": train, "val": val, "test": test}
        self.size_px = size_px

    def candidates(self, *, dry: bool = False) -> list["Portrait"]:
        """Returns the portraits of each split, in order.

        Raises:
            DataError: If the packed file is missing or damaged.
        """
        found, taken = [], Counter[str]()
        for row, name in enumerate(_opened().names):
            split, _, identity = name.removesuffix(".jpg").partition("/")
            most = self.counts[split]
            if most is None or taken[split] < most:
                taken[split] += 1
                found.append(Portrait(Entry(identity, split, f"Bioguide {identity}", identity), row))
        return found

    def quotas(self) -> dict[str, int]:
        """Returns nothing: `candidates` has counted already."""
        return {}

    def read(self, candidate: "Portrait") -> Face:
        """Returns one face, reduced to `size_px`.

        Raises:
            DataError: If the packed file is damaged.
        """
        packed = _opened()
        with _explained():
            hr, parsing, points = packed.face(candidate.row)
        landmarks = points.astype(np.float32)
        if self.size_px != _SIZE_PX:
            size, scale = (self.size_px, self.size_px), self.size_px / _SIZE_PX
            hr = hr.resize(size, Image.Resampling.BICUBIC)
            parsing = np.asarray(Image.fromarray(parsing).resize(size, Image.Resampling.NEAREST))
            landmarks = np.float32(scale) * (landmarks + np.float32(0.5)) - np.float32(0.5)
        return Face(np.asarray(hr), parsing, landmarks)

    def provenance(self) -> dict[str, Any]:
        """Returns how the data was made."""
        return {
            "source": "portraits",
            "options": {**self.counts, "size_px": self.size_px},
            "crop_rule": "detector: MTCNN's box, 1.5 times its side",
            "parser": "BiSeNet (zllrunning/face-parsing.PyTorch, 79999_iter.pth), eyes' sides repaired by position",
            "landmarks": "dlib, shape_predictor_68_face_landmarks (300-W)",
            "split_rule": "no identity in two splits; near-duplicates removed",
            **self.terms,
        }


class Portrait(NamedTuple):
    """One of the portraits.

    Attributes:
        entry: Its row in the store's index.
        row: Its place in the packed file.
    """

    entry: Entry
    row: int


class _Packed:
    """The packed file, opened."""

    def __init__(self, file: Path) -> None:
        self.archive = zipfile.ZipFile(file)
        self.names = [name for name in self.archive.namelist() if name.endswith(".jpg")]
        self.parsing: NDArray[np.uint8] = np.load(io.BytesIO(self.archive.read("parsing.npy")))
        self.landmarks: NDArray[np.int16] = np.load(io.BytesIO(self.archive.read("landmarks.npy")))

    def face(self, row: int) -> tuple[Image.Image, NDArray[np.uint8], NDArray[np.int16]]:
        """Returns image, parsing map and landmarks of one face."""
        with Image.open(io.BytesIO(self.archive.read(self.names[row]))) as image:
            return image.convert("RGB"), self.parsing[row], self.landmarks[row]


@cache
def _opened() -> _Packed:
    with _explained():
        return _Packed(PACKED)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
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
    names = [f"{image.parents[1].name}/{image.stem}" for image in images]
    assert max(map(np.max, maps)) < len(LABELS)
    arrays = {"parsing": np.stack(maps), "landmarks": np.stack([landmarks[name] for name in names]).astype(np.int16)}
    with whole_file(file) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, image in zip(names, images, strict=True):
            archive.writestr(_member(f"{name}.jpg"), image.read_bytes())
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(_member(f"{name}.npy"), content.getvalue(), zipfile.ZIP_LZMA)


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(2000, 1, 1, 0, 0, 0))  # the same bytes whenever it is packed
