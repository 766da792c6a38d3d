"""A file's pixels, with what must not be lost on the way: orientation, colour profile, alpha, EXIF."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageOps

from pkdn_lightning.faces.images import MODES, explained, open_image, to_rgb
from pkdn_lightning.files import whole_file

_GREY: Final = ("L", "LA", "1", "I;16", "I")
_OWN_COLOURS: Final = ("RGB", "RGBA", "P", "L", "LA")  # others' colour profiles do not fit RGB pixels


@dataclass(frozen=True)
class ImageFile:
    """An image as 8-bit RGB, upright, with its metadata.

    Attributes:
        rgb: The colours.
        alpha: How opaque each pixel is, or None.
        grey: Whether it is grey, and its result is to be.
        exif: EXIF data without the orientation, which is carried out already.
        icc: Colour profile, or None.
        notes: What a user should know about how it was read.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    grey: bool = False
    exif: bytes = b""
    icc: bytes | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, file: Path) -> "ImageFile":
        """Reads a file.

        Raises:
            Rejected: If it is no image, damaged, or larger than any photograph.
        """
        stored = open_image(file, first_frame=True)
        notes = []
        if (frames := getattr(stored, "n_frames", 1)) > 1 and stored.format != "MPO":
            notes.append(f"first of {frames} images")
        if stored.mode in ("I;16", "I"):
            notes.append("16 bits reduced to 8")
        with explained(file, "has EXIF data that cannot be read"):
            upright = ImageOps.exif_transpose(stored)
            found = upright.getexif()
            exif = found.tobytes() if len(found) else b""
        mode = upright.mode
        if mode not in MODES and mode != "RGB":
            notes.append(f"converted from {mode}")
        alpha = None
        if "A" in upright.getbands() or "transparency" in upright.info:
            with explained(file, "has an alpha channel that cannot be read"):
                rgba = upright.convert("RGBA")
            alpha = rgba.getchannel("A")
            rgb = rgba.convert("RGB")  # the colours as they are, not over black: alpha is put back
        else:
            rgb = to_rgb(upright, file)
        icc = stored.info.get("icc_profile") if mode in _OWN_COLOURS else None
        return cls(rgb, alpha, mode in _GREY, exif, icc, tuple(notes))

    def with_pixels(self, rgb: Image.Image) -> "ImageFile":
        """Returns the image with other pixels; alpha is enlarged with them."""
        return replace(self, rgb=rgb, alpha=self.alpha and self.alpha.resize(rgb.size, Image.Resampling.BICUBIC))

    def save(self, file: Path) -> None:
        """Writes it, whole or not at all.

        Raises:
            OSError: If it cannot be written.
        """
        image = self.rgb.convert("L") if self.grey else self.rgb.copy()
        suffix = file.suffix.lower()
        if self.alpha is not None and suffix not in (".jpg", ".jpeg", ".bmp"):
            image.putalpha(self.alpha)
        options: dict[str, Any] = {"quality": 95, "subsampling": 0} if suffix in (".jpg", ".jpeg") else {}
        if suffix == ".webp":
            options = {"lossless": True}
        options |= {name: value for name, value in (("icc_profile", self.icc), ("exif", self.exif)) if value}
        with whole_file(file) as temporary:
            image.save(temporary, **options)
