"""What is to be restored: an image, a folder of images, a pattern."""

import glob
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.folders import Found, find_images, suffixes
from pkdn_lightning.predict.manifest import FILE

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
KEPT_FORMATS: Final = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp")
"""What `format=same` writes; anything else becomes PNG."""


class Input(NamedTuple):
    """A file to be restored.

    Attributes:
        file: Where it is.
        name: Where its result goes, relative to the output folder.
    """

    file: Path
    name: Path


class Inputs(NamedTuple):
    """What `input=` names.

    Attributes:
        images: The files to be restored, in order.
        found: What lies in the folder, files that are no images among it.
    """

    images: Sequence[Input]
    found: Found


def refuse_video(file: Path) -> None:
    """Raises a `DataError` with the alternative if a file is a video by its name."""
    if file.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(
            f"{file} is a video; expected images. ffmpeg makes some of it and puts them together with its sound:\n"
            f"  mkdir frames; ffmpeg -i '{file}' frames/%06d.png\n"
            "  pkdn predict input=frames/ output=restored/ mode=photo\n"
            f"  ffmpeg -framerate <rate> -i restored/%06d.png -i '{file}' -map 0:v -map '1:a?' -c:a copy "
            "-pix_fmt yuv420p restored.mp4"
        )


def find_inputs(wanted: str, output: Path, form: str = "png") -> Inputs:
    """Returns the files that `input=` names.

    Args:
        wanted: A file, a folder (searched below, without hidden files and results of earlier
            predictions), or a pattern with `*`, `?` or `**`.
        output: Where results go; files in it are not inputs.
        form: `png`, or `same` for the format of the input.

    Raises:
        DataError: If there is nothing there, or it is a video.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", wanted):
        raise DataError(f"input={wanted} is a URL; a file or folder is expected. Download it first: curl -LO <url>")
    path = Path(wanted).expanduser()
    if path.is_dir():
        found, root = find_images(path, more=VIDEO_SUFFIXES, without=output, marker=FILE), path
        found = found._replace(left_out=[file for file in found.left_out if file.name != FILE])
    elif os.path.lexists(path):
        refuse_video(path)
        found, root = Found([path]), path.parent
    elif glob.has_magic(wanted):
        found = Found([Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if not Path(name).is_dir()])  # noqa: PTH207  # absolute patterns, too
        fixed = str(path)[: re.search(r"[*?\[]", str(path)).start()]  # type: ignore[union-attr]  # it has magic
        root = Path(fixed) if fixed.endswith("/") else Path(fixed).parent
        inside = Path(os.path.realpath(output))
        if inside != Path(os.path.realpath(root)):
            found = Found([file for file in found.images if inside not in Path(os.path.realpath(file)).parents])
    else:
        raise DataError(f"There is no {wanted}: expected an image, a folder or a pattern ('photos/*.jpg').")
    if not found.images:
        there = f" {found.note()}" if found.note() else ""
        if "[" in wanted and not path.exists():
            there += " In a pattern [ ] hold choices of a character; a bracket itself is written [[]."
        raise DataError(f"No images at {wanted}.{there}\nKnown suffixes: {' '.join(suffixes())}")
    return Inputs(_named(found.images, root, form), found)


def _named(files: Sequence[Path], root: Path, form: str) -> list[Input]:
    """Returns files with names that differ: `a.jpg` beside `a.png` becomes `a.jpg.png`."""
    inner = [file.relative_to(root) for file in files]
    stems = Counter(file.with_suffix("") for file in inner)
    wanted = [file.suffix if form == "same" and file.suffix.lower() in KEPT_FORMATS else ".png" for file in inner]
    taken = {file for file, suffix in zip(inner, wanted, strict=True) if suffix == file.suffix}
    named = []
    for file, suffix in zip(inner, wanted, strict=True):
        name = file
        if suffix != file.suffix:
            name = file.with_name((file.name if stems[file.with_suffix("")] > 1 else file.stem) + suffix)
            while name in taken:
                name = name.with_name(name.name + suffix)
            taken.add(name)
        named.append(Input(root / file, name))
    return named
