"""The image files of a folder, and what else lies there: nothing is passed over without a word."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

_NO_PHOTOGRAPHS: Final = ("BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF")
_HEIF: Final = (".heic", ".heif", ".hif")  # read by an extra
_SHOWN: Final = 5


@cache
def suffixes() -> tuple[str, ...]:
    """Returns the suffixes of image files: of everything that this Pillow reads and that may hold a photograph."""
    Image.init()
    known = {*Image.OPEN, "MPO"} - set(_NO_PHOTOGRAPHS)
    return (*sorted(suffix for suffix, name in Image.registered_extensions().items() if name in known), *_HEIF)


class Found(NamedTuple):
    """What lies in a folder.

    Attributes:
        images: Files with the suffix of an image, in the order of their paths.
        left_out: Other files, and folders that cannot be read.
        hidden: How many hidden files and folders there are: a desktop's thumbnails and the like.
    """

    images: Sequence[Path]
    left_out: Sequence[Path] = ()
    hidden: int = 0

    def note(self) -> str:
        """Returns which files were left out, in one sentence; empty if there are none."""
        words = []
        if self.left_out:
            names = ", ".join(f"{file.name}/" if file.is_dir() else file.name for file in self.left_out[:_SHOWN])
            more = f" and {len(self.left_out) - _SHOWN} more" if len(self.left_out) > _SHOWN else ""
            words.append(f"{names}{more} (no image file)")
        if self.hidden:
            words.append(f"{self.hidden} hidden")
        return f"Left out: {', '.join(words)}." if words else ""


def find_images(folder: Path, *, more: tuple[str, ...] = (), without: Path | None = None, marker: str = "") -> Found:
    """Returns what lies below a folder, in the order of the paths, whatever the file system's is.

    Linked folders are entered, each real folder once, so that loops end.

    Args:
        folder: The folder.
        more: Suffixes that count as images, too.
        without: A folder that is not looked into.
        marker: A folder below that holds a file of this name is not looked into either.
    """
    images: list[Path] = []
    left_out: list[Path] = []
    hidden, seen = 0, set[str]()
    wanted = (*suffixes(), *more)
    if without is not None and os.path.realpath(without) != os.path.realpath(folder):
        seen.add(os.path.realpath(without))
    for parent, folders, files in os.walk(
        folder, followlinks=True, onerror=lambda error: left_out.append(Path(error.filename))
    ):
        real = os.path.realpath(parent)
        if real in seen or (marker in files and parent != str(folder)):
            folders.clear()
            continue
        seen.add(real)
        hidden += sum(name.startswith(".") for name in (*folders, *files))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                (images if name.lower().endswith(wanted) else left_out).append(Path(parent, name))
    return Found(images, left_out, hidden)
