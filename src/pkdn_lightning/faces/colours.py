"""Colours: any mode of Pillow as 8-bit RGB, colour profiles, and whether an image is grey."""

import io
from functools import lru_cache
from typing import Any, Final

import numpy as np
from PIL import Image, ImageChops

_GREY_AT_MOST: Final = 8  # levels between channels: compression tints grey images by this much
_16_BITS: Final = 2**16 - 1
_ROWS: Final = 256  # of an image at a time
_MODES: Final = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}  # by a profile's colour space


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns an image of any mode as 8-bit RGB.

    Alpha lies over black. CMYK and Lab are converted by their profile; other profiles are left to `in_srgb`.

    Raises:
        ValueError: If it cannot be converted.
    """
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip at 255
        values = np.asarray(image)
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest > _16_BITS:
            raise ValueError(
                f"its values reach from {lowest} to {highest}; of an image of 32 bits only 0 to 65535 are read"
            )
        grey = (values.astype(np.float64) / 257).round().clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("a float image has no agreed range")
    if image.mode in ("CMYK", "LAB"):
        return _by_profile(image, image.info.get("icc_profile"))
    if "A" in image.getbands() or ("transparency" in image.info and image.mode != "RGB"):
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def in_srgb(rgb: Image.Image, profile: bytes | None) -> Image.Image:
    """Returns an RGB image with the colours that its profile gives it, in sRGB; unchanged without a legible one."""
    return _by_profile(rgb, profile) if profile else rgb


def is_grey(rgb: Image.Image) -> bool:
    """Returns whether an RGB image shows greys only, but for the slight tint of a compression."""
    for top in range(0, rgb.height, _ROWS):  # most images answer in their first rows, and memory stays small
        red, *others = rgb.crop((0, top, rgb.width, min(top + _ROWS, rgb.height))).split()
        if any(any(ImageChops.difference(red, each).histogram()[_GREY_AT_MOST + 1 :]) for each in others):
            return False
    return True


def _by_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    from PIL import ImageCms  # only where it is needed: most images have no profile

    try:
        mode, transform = _transform(profile or b"", image.mode)
        if transform is not None and (mode != "CMYK" or image.mode == "CMYK"):
            return ImageCms.applyTransform(image.convert(mode), transform)  # type: ignore[return-value]  # not in place
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        pass  # a damaged profile, or one for other pixels
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=8)
def _transform(profile: bytes, image_mode: str) -> tuple[str, Any]:
    """Returns the mode that a profile is for, and its transform to sRGB; None if it is sRGB already."""
    from PIL import ImageCms

    if not profile and image_mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    else:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _MODES[source.profile.xcolor_space]
    if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
        return mode, None
    return mode, ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
