"""Image files of any kind become 8-bit RGB, or a reason why not."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pkdn_lightning.data.labels import LABELS, ORDERS, LabelOrder
from pkdn_lightning.faces.rejection import Rejected

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif")
MODES: Final = {"L": "grey", "P": "palette", "RGBA": "with alpha", "LA": "grey with alpha", "I;16": "16-bit grey",
                "I": "32-bit grey", "F": "float grey", "1": "black and white", "CMYK": "CMYK"}  # fmt: skip
_MAX_PIXELS: Final = 100_000_000  # a 100-megapixel camera; more is a mistake or an attack on the memory
# What Pillow's decoders raise on damaged bytes. Not MemoryError: that is no fault of the file.
_DAMAGE: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error,
)  # fmt: skip


def open_image(file: Path, *, first_frame: bool = False) -> Image.Image:
    """Returns an image as its file holds it, decoded.

    Args:
        file: The image.
        first_frame: Takes the first image of a file that holds several, instead of refusing it.

    Raises:
        Rejected: If it is missing, unreadable, truncated, animated, or larger than any photograph.
    """
    try:
        with explained(file, "cannot be read"), Image.open(file) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise Rejected("too_large", f"{file} claims {image.width}x{image.height} pixels")
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and not first_frame and image.format != "MPO":  # MPO: a camera's JPEG with a preview
                raise Rejected("animated", f"{file} holds {frames} images; keep the one that is meant")
            image.load()
            return image
    except FileNotFoundError as error:
        raise Rejected("missing", f"there is no {file}") from error
    except UnidentifiedImageError as error:
        what = "is empty" if file.stat().st_size == 0 else "is no image that can be read"
        raise Rejected("unreadable", f"{file} {what}") from error
    except Image.DecompressionBombError as error:
        raise Rejected("too_large", f"{file}: {error}") from error


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
    """Returns a photograph as 8-bit RGB, whatever its file holds: grey, palette, CMYK, 16 bits, alpha (over black).

    Args:
        file: The image.
        upright: Applies the EXIF orientation. Coordinates that a publisher measured on the stored pixels
            need it as it is stored.

    Raises:
        Rejected: If it cannot be read.
    """
    image = open_image(file)
    if upright:
        with explained(file, "has an EXIF orientation that cannot be read"):
            image = ImageOps.exif_transpose(image)
    return to_rgb(image, file)


def to_rgb(image: Image.Image, file: Path) -> Image.Image:
    """Returns the image of a file, of any mode, as 8-bit RGB; alpha lies over black.

    Raises:
        Rejected: If it cannot be converted.
    """
    with explained(file, "cannot be converted to RGB"):
        if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip at 255
            grey = (np.asarray(image).astype(np.float64) / 257).round().clip(0, 255)
            return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
        if image.mode == "F":
            raise ValueError("a float image has no agreed range")
        if "A" in image.getbands() or ("transparency" in image.info and image.mode != "RGB"):
            rgba = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")
        return image.convert("RGB")


@contextmanager
def explained(file: Path, what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into a reason; what `open_image` knows better passes."""
    try:
        yield
    except (FileNotFoundError, UnidentifiedImageError):
        raise
    except _DAMAGE as error:
        reason = "truncated" if "truncated" in str(error).lower() else "unreadable"
        raise Rejected(reason, f"{file} {what}: {error}") from error


def walk_images(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> Iterator[Path]:
    """Yields the images below a folder in the order of their paths, whatever the file system's is.

    An image is what has one of the suffixes. Linked folders are entered, each real folder once, so that loops end.
    Hidden files are left out: they are a desktop's thumbnails and the like.
    """
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield Path(parent, name)
