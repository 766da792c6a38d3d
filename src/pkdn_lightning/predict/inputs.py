"""What is to be restored: an image, a folder of images, a pattern."""

import glob
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.images import SUFFIXES, walk_images

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
KEPT_FORMATS: Final = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
"""What `format=same` writes; anything else becomes PNG."""


class Input(NamedTuple):
    """A file to be restored.

    Attributes:
        file: Where it is.
        name: Where its result goes, relative to the output folder.
    """

    file: Path
    name: Path


def refuse_video(file: Path) -> None:
    """Raises a `DataError` with the alternative if a file is a video by its name."""
    if file.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(
            f"{file} is a video; expected images. ffmpeg makes some of it and puts them together with its sound:\n"
            f"  mkdir frames; ffmpeg -i '{file}' frames/%06d.png\n"
            "  pkdn predict input=frames/ output=restored/ mode=photo upscale=1; cp -n frames/* restored/\n"
            f"  ffmpeg -framerate <rate> -i restored/%06d.png -i '{file}' -map 0:v -map '1:a?' -c:a copy "
            "-pix_fmt yuv420p restored.mp4"
        )


def find_inputs(wanted: str, output: Path, form: str = "png") -> list[Input]:
    """Returns the files that `input=` names, in order.

    Args:
        wanted: A file, a folder (searched below, hidden files left out), or a pattern with `*`, `?` or `**`.
        output: Where results go; files in it are not inputs.
        form: `png`, or `same` for the format of the input.

    Raises:
        DataError: If there is nothing there, or it is a video.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", wanted):
        raise DataError(f"input={wanted} is a URL; a file or folder is expected. Download it first: curl -LO <url>")
    path = Path(wanted).expanduser()
    if path.is_file():
        refuse_video(path)
        return _named([path], path.parent, form)
    if path.is_dir():
        files = [*walk_images(path, (*SUFFIXES, *VIDEO_SUFFIXES))]
        root = path
    elif glob.has_magic(wanted):
        files = sorted(file for found in glob.glob(str(path), recursive=True) if (file := Path(found)).is_file())  # noqa: PTH207  # absolute patterns, too
        fixed = str(path)[: re.search(r"[*?\[]", str(path)).start()]  # type: ignore[union-attr]  # it has magic
        root = Path(fixed) if fixed.endswith("/") else Path(fixed).parent
    else:
        raise DataError(f"There is no {wanted}: expected an image, a folder or a pattern ('photos/*.jpg').")
    inside = output.resolve()
    files = [file for file in files if inside not in file.resolve().parents or inside == root.resolve()]
    if not files:
        raise DataError(f"No images at {wanted}. Known suffixes: {' '.join(SUFFIXES)}")
    return _named(files, root, form)


def _named(files: Sequence[Path], root: Path, form: str) -> list[Input]:
    """Returns files with names that differ: `a.jpg` and `a.png` become `a.jpg.png` and `a.png.png`."""
    stems = [file.relative_to(root).with_suffix("") for file in files]
    several = {stem for stem, count in Counter(stems).items() if count > 1}
    named = []
    for file, stem in zip(files, stems, strict=True):
        suffix = file.suffix if form == "same" and file.suffix.lower() in KEPT_FORMATS else ".png"
        clash = stem in several and suffix != file.suffix
        base = file.relative_to(root) if clash else stem
        named.append(Input(file, base.with_name(base.name + suffix)))
    return named
