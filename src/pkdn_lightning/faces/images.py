"""Image files of any kind become 8-bit RGB, or a reason why not."""

import errno
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from pkdn_lightning.data.labels import LABELS, ORDERS, LabelOrder
from pkdn_lightning.faces.colours import in_srgb, to_rgb
from pkdn_lightning.faces.rejection import Rejected

MODES: Final = {"L": "grey", "P": "palette", "RGBA": "with alpha", "LA": "grey with alpha", "I;16": "16-bit grey",
                "I": "32-bit grey", "F": "float grey", "1": "black and white", "CMYK": "CMYK"}  # fmt: skip
_MAX_PIXELS: Final = 100_000_000  # a 100-megapixel camera; more is a mistake or an attack on the memory
# What Pillow's decoders raise on damaged bytes. Not MemoryError: that is no fault of the file.
_DAMAGE: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    struct.error,
)  # fmt: skip
_TIFF_STORAGE: Final = (
    *range(254, 267), *range(273, 285), *range(286, 302), *range(317, 348), 512, *range(529, 533), 34675, 700,
)  # fmt: skip
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Damaged EXIF data costs no pixel, and `turned` tells of it; Pillow's warnings name neither the file nor a remedy.
warnings.filterwarnings("ignore", "Corrupt EXIF|Truncated File Read|Metadata Warning", UserWarning, "PIL")


def check_regular(file: Path) -> None:
    """Checks that a path leads to a file whose bytes can be read; opening a FIFO would wait for ever.

    Raises:
        Rejected: If it leads nowhere, or to something else.
    """
    try:
        kind = file.stat().st_mode
    except OSError as error:
        if not os.path.lexists(file):
            raise Rejected("missing", f"there is no {file}") from error
        if isinstance(error, FileNotFoundError):
            raise Rejected("missing", f"{file} is a link to a file that is not there") from error
        what = "is a link to itself" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise Rejected("unreadable", f"{file} {what}") from error
    if not stat.S_ISREG(kind):
        names = {stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
        raise Rejected("unreadable", f"{file} is a {names.get(stat.S_IFMT(kind), 'device')}, expected an image file")


def open_image(file: Path, *, first_frame: bool = False) -> Image.Image:
    """Returns an image as its file holds it, decoded.

    Args:
        file: The image.
        first_frame: Takes the first image of a file that holds several, instead of refusing it.

    Raises:
        Rejected: If it is missing, unreadable, truncated, animated, or larger than any photograph.
    """
    check_regular(file)
    try:
        with explained(file, "cannot be read"):
            if heif := _is_heif(file):
                _prepare_heif()
            with Image.open(file) as image:
                if image.width * image.height > _MAX_PIXELS:
                    raise Rejected("too_large", f"{file} claims {image.width}x{image.height} pixels")
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and not first_frame and image.format != "MPO":  # MPO: a camera's JPEG with a preview
                    raise Rejected("animated", f"{file} holds {frames} images; keep the one that is meant")
                image.load()
                return image
    except UnidentifiedImageError as error:
        if heif and find_spec("pillow_heif") is None:
            extra = "which needs an extra: pip install 'pkdn-lightning[heic]'"
            raise Rejected("needs_extra", f"{file} is HEIC, {extra}") from error
        what = "is empty" if file.stat().st_size == 0 else "is no image that can be read"
        raise Rejected("unreadable", f"{file} {what}") from error
    except Image.DecompressionBombError as error:
        raise Rejected("too_large", f"{file} is too large: {error}") from error


def _is_heif(file: Path) -> bool:
    """Returns whether a file is HEIC, whatever its name; an AVIF with the general brand counts, too."""
    with file.open("rb") as opened:
        head = opened.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _prepare_heif() -> None:
    """Lets Pillow read HEIC if the extra is installed."""
    if find_spec("pillow_heif") is not None and "HEIF" not in Image.OPEN:
        from pillow_heif import register_heif_opener

        register_heif_opener()


def open_label_map(file: Path) -> Image.Image:
    """Returns a parsing map: an image of mode L or P that holds label ids 0..18.

    Raises:
        Rejected: With the reason `bad_map` if it cannot be read or holds anything else.
    """
    try:
        image = open_image(file)
    except Rejected as rejected:
        raise Rejected("bad_map", rejected.detail) from rejected
    if image.mode not in ("L", "P"):
        what = "a parsing map holds label ids in an 8-bit grey or palette image"
        raise Rejected("bad_map", f"{file} is of {mode_of(image)}; {what}")
    if wrong := [int(label) for label in np.unique(np.asarray(image)) if label >= len(LABELS)]:
        raise Rejected("bad_map", f"{file} has labels {wrong[:5]} outside 0..{len(LABELS) - 1}")
    return image


def reordered(image: Image.Image, order: LabelOrder) -> NDArray[np.uint8]:
    """Returns the label ids of a parsing map, (H, W), from the ids of another label order; see `data.labels.ORDERS`."""
    return np.array(ORDERS[order], dtype=np.uint8)[np.asarray(image)]


def mode_of(image: Image.Image) -> str:
    """Returns what the pixels of an image are, in words."""
    return f"mode {image.mode} ({MODES.get(image.mode, 'unusual')})"


def open_photograph(file: Path, *, upright: bool = True) -> Image.Image:
    """Returns a photograph as 8-bit sRGB, whatever its file holds: grey, palette, CMYK, 16 bits, alpha (over black).

    Args:
        file: The image.
        upright: Applies the EXIF orientation. Coordinates that a publisher measured on the stored pixels
            need it as it is stored.

    Raises:
        Rejected: If it cannot be read.
    """
    image = open_image(file)
    if upright:
        image, _ = turned(image)
    return as_srgb(image, file)


def as_srgb(image: Image.Image, file: Path) -> Image.Image:
    """Returns the image of a file as 8-bit sRGB, by its colour profile if it has one.

    Raises:
        Rejected: If it cannot be converted.
    """
    with explained(file, "cannot be converted to RGB"):
        return in_srgb(to_rgb(image), image.info.get("icc_profile"))


def turned(image: Image.Image) -> tuple[Image.Image, bool]:
    """Returns an image upright by its EXIF orientation, and whether its EXIF data could be read.

    Damaged EXIF data is removed from the image; the orientation is applied if that much of it is legible.
    """
    try:
        exif = image.getexif()
        sound = bool(exif) or not image.info.get("exif")  # a truncated block holds no entry
        upright = exif.get(ExifTags.Base.Orientation, 1) == 1
        return image if upright else ImageOps.exif_transpose(image), sound  # which would copy an upright one, too
    except _DAMAGE:
        for key in ("exif", "Raw profile type exif"):
            image.info.pop(key, None)
    try:
        return ImageOps.exif_transpose(image), False
    except _DAMAGE:
        return image, False


def exif_of(image: Image.Image) -> bytes | None:
    """Returns the EXIF data of an image; empty if there is none, None if it is damaged."""
    try:
        found = image.getexif()
        if image.format == "TIFF":  # its own directory: how pixels are stored is not for another file
            for tag in _TIFF_STORAGE:
                found.pop(tag, None)
        return found.tobytes() if len(found) else b""
    except _DAMAGE:
        return None


@contextmanager
def explained(file: Path, what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a reason; what `open_image` knows better passes."""
    try:
        yield
    except UnidentifiedImageError:
        raise
    except _DAMAGE as error:
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        raise Rejected(reason, f"{file} {what}: {error}") from error
