"""Any folder of HR faces, with or without parsing maps.

    <path>/<split>/images/NAME.png|jpg|...     the faces, square, all of one size
    <path>/<split>/parsing/NAME.png            their parsing maps: label ids 0..18, grey or palette; optional

for the splits train, val and test; not all need to be there. Either every face has its map or none has.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.console import console
from pkdn_lightning.data.labels import LabelOrder
from pkdn_lightning.data.store import SPLITS, Entry
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.folders import Found, suffixes
from pkdn_lightning.faces.images import as_srgb, mode_of, open_image, open_label_map, reordered
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.values import Side

_SHOWN: Final = 5


class FolderSource:
    """Reads faces from a folder; see the module's docstring for its layout.

    Args:
        path: The folder.
        size_px: Side every face has to have.
        convert: Converts grey, palette, RGBA and 16-bit images to 8-bit RGB (alpha over black). Off by default,
            because such files are mostly there by mistake.
        resize: Accepts square faces of another size by resizing them (Pillow's bicubic; maps by nearest neighbour).
        labels: Order in which the maps number the classes: `celebamask_hq` or `bisenet`; see `data.labels.ORDERS`.
    """

    with_landmarks = False

    def __init__(
        self,
        path: str | None,
        *,
        size_px: Side = 128,
        convert: bool = False,
        resize: bool = False,
        labels: LabelOrder = "celebamask_hq",
    ) -> None:
        if path is None:
            raise ConfigError(
                "data.source.path is not set: say where the faces are, e.g. data.source.path=~/faces.\n"
                "Expected there: <split>/images/NAME.png and, optionally, <split>/parsing/NAME.png for the splits "
                f"{', '.join(SPLITS)}."
            )
        self.path = Path(path).expanduser()
        self.size_px, self.convert, self.resize, self.labels = size_px, convert, resize, labels
        if not self.path.is_dir():
            raise DataError(f"There is no folder {self.path} (data.source.path).")
        others = [each for each in sorted(self.path.glob("[!.]*")) if each.is_dir() and each.name not in SPLITS]
        if others and is_folder_of_faces(path):
            names = ", ".join(f"{each.name}/" for each in others[:_SHOWN])
            console.print(f"{self.path}: Left out: {names} (splits are {', '.join(SPLITS)}).")
        self._images = {split: _files(self.path / split / "images") for split in SPLITS}
        self._maps = {split: _files(self.path / split / "parsing") for split in SPLITS}
        self.with_parsing = any(self._maps.values())

    def candidates(self, *, dry: bool = False) -> list["ReadyFace"]:
        """Returns the faces in the order of splits and names."""
        faces = [
            ReadyFace(Entry(name, split, file.relative_to(self.path).as_posix()), file, self._maps[split].get(name))
            for split, files in self._images.items()
            for name, file in files.items()
        ]
        if not faces:
            found = ", ".join(sorted(child.name for child in self.path.iterdir())[:8]) or "nothing"
            raise DataError(
                f"No images below {self.path}. Expected <split>/images/NAME.png for a split of {', '.join(SPLITS)}; "
                f"found there: {found}.\nUse data=photos for photographs from which faces have to be cropped."
            )
        if self.with_parsing:
            self._check_pairs()
        return faces

    def quotas(self) -> dict[str, int]:
        """Returns nothing: all faces are taken."""
        return {}

    def read(self, candidate: "ReadyFace") -> Face:
        """Returns a face and its map."""
        hr = self._read_image(candidate.file)
        if (file := candidate.map) is None:
            return Face(hr)
        return Face(hr, reordered(self._fit(file, open_label_map(file), Image.Resampling.NEAREST), self.labels))

    def provenance(self) -> dict[str, Any]:
        """Returns how the data was made."""
        return {
            "source": "folder",
            "crop_rule": "none: faces taken as they are",
            "parser": f"maps taken as they are, labels of {self.labels}" if self.with_parsing else None,
            "convert": self.convert,
            "resize": self.resize,
        }

    def _check_pairs(self) -> None:
        lines = []
        for split in SPLITS:
            faces, maps = self._images[split], self._maps[split]
            lines += [f"{split}/images/{faces[name].name} has no map" for name in faces if name not in maps]
            lines += [f"{split}/parsing/{maps[name].name} has no face" for name in maps if name not in faces]
        if lines:
            shown = "\n  ".join(lines[:_SHOWN])
            more = f"\n  ... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            raise DataError(
                f"{len(lines)} faces and parsing maps below {self.path} do not pair up by name:\n  {shown}{more}\n"
                "Add what is missing, or take every map away to make a store for students only."
            )

    def _read_image(self, file: Path) -> NDArray[np.uint8]:
        image = open_image(file)
        if image.mode != "RGB" and not self.convert:
            hint = "data.source.convert=true converts"
            raise Rejected("wrong_mode", f"{file} is of {mode_of(image)}, expected 8-bit RGB; {hint}")
        return np.asarray(self._fit(file, as_srgb(image, file), Image.Resampling.BICUBIC), dtype=np.uint8)

    def _fit(self, file: Path, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        if image.size == (self.size_px, self.size_px):
            return image
        width, height = image.size
        if not self.resize or width != height:
            hint = "; data.source.resize=true resizes" if width == height else "; faces have to be square"
            raise Rejected("wrong_size", f"{file} is {width}x{height}, expected {self.size_px}x{self.size_px}{hint}")
        return image.resize((self.size_px, self.size_px), resample)


class ReadyFace(NamedTuple):
    """A face that needs no cropping, and its map."""

    entry: Entry
    file: Path
    map: Path | None


def is_folder_of_faces(path: str) -> bool:
    """Returns whether a folder has the layout of this source."""
    return any((Path(path).expanduser() / split / "images").is_dir() for split in SPLITS)


def _files(folder: Path) -> dict[str, Path]:
    """Returns the images of a folder by stem, sorted by name.

    Raises:
        DataError: If two files share a stem: they could not be told apart.
    """
    files: dict[str, Path] = {}
    left_out = []
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.name.startswith("."):
            continue
        if not file.name.lower().endswith(suffixes()):
            left_out.append(file)
            continue
        if file.stem in files:
            raise DataError(f"{folder} holds both {files[file.stem].name} and {file.name}; keep one.")
        files[file.stem] = file
    if note := Found((), left_out).note():
        console.print(f"{folder}: {note}")
    return files
