"""A file's pixels, with what must not be lost on the way: orientation, colour profile, alpha, metadata."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pkdn_lightning.faces.colours import is_grey, to_rgb
from pkdn_lightning.faces.images import MODES, exif_of, explained, open_image, turned
from pkdn_lightning.files import whole_file
from pkdn_lightning.predict.bit_depth import bits_per_channel

_GREY: Final = ("L", "LA", "1", "I;16", "I")
_OWN_COLOURS: Final = (*_GREY, "RGB", "RGBA", "P")  # others' colour profiles do not fit RGB pixels
_JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif")
# Matches of neighbouring bytes only: of photographs a quarter of the time of zlib's default, for 5 % more bytes.
_PNG: Final[dict[str, Any]] = {"compress_type": zlib.Z_RLE}
_OPTIONS: Final = {".png": _PNG, ".webp": {"lossless": True}} | {
    suffix: {"quality": 95, "subsampling": 0} for suffix in _JPEG
}
_LONGEST_TEXT: Final = 1_000_000  # bytes; PNG readers refuse more


@dataclass(frozen=True)
class ImageFile:
    """An image as 8-bit RGB, upright, with its metadata.

    Attributes:
        rgb: The colours.
        alpha: How opaque each pixel is, or None.
        one_channel: Whether the file holds one channel of grey, and its result is to.
        grey: Whether it shows greys only, whatever it holds.
        exif: EXIF data without the orientation, which is carried out already.
        icc: Colour profile, or None.
        others: More metadata, by Pillow's names: `dpi`, `xmp`, `comment` and the texts of a PNG.
        notes: What a user should know about how it was read.
    """

    rgb: Image.Image
    alpha: Image.Image | None = None
    one_channel: bool = False
    grey: bool = False
    exif: bytes = b""
    icc: bytes | None = None
    others: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, file: Path) -> "ImageFile":
        """Reads a file.

        Raises:
            Rejected: If it is no image, damaged, or larger than any photograph.
        """
        stored = open_image(file, first_frame=True)
        notes = []
        with explained(file, "cannot be read"):
            if (frames := getattr(stored, "n_frames", 1)) > 1 and stored.format != "MPO":
                notes.append(f"first of {frames} images")
            if (bits := bits_per_channel(stored, file)) > 8:
                notes.append(f"{bits} bits reduced to 8")
        upright, sound = turned(stored)
        exif = exif_of(stored if stored.format == "TIFF" else upright)
        if exif is None or not sound:
            notes.append("its EXIF data is damaged and left out")
        mode = upright.mode
        if mode not in MODES and mode != "RGB":
            notes.append(f"converted from {mode}")
        with explained(file, "cannot be converted to RGB"):
            alpha = None
            if (mode != "LAB" and "A" in upright.getbands()) or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                alpha, rgb = rgba.getchannel("A"), rgba.convert("RGB")  # not over black: alpha is put back
            else:
                rgb = to_rgb(upright)
        icc = stored.info.get("icc_profile") if mode in _OWN_COLOURS else None
        others = _others(upright.info, getattr(stored, "text", {}))
        return cls(rgb, alpha, mode in _GREY, is_grey(rgb), exif or b"", icc, others, tuple(notes))

    def with_pixels(self, rgb: Image.Image) -> "ImageFile":
        """Returns the image with other pixels; alpha is enlarged with them."""
        return replace(self, rgb=rgb, alpha=self.alpha and self.alpha.resize(rgb.size, Image.Resampling.BICUBIC))

    def save(self, file: Path) -> str:
        """Writes it, whole or not at all.

        Returns:
            What could not be written of its metadata, in words; empty if all was.

        Raises:
            OSError: If it cannot be written.
        """
        image = self.rgb.convert("L") if self.one_channel else self.rgb
        suffix = file.suffix.lower()
        if self.alpha is not None and suffix not in (*_JPEG, ".bmp"):
            image = image.copy()
            image.putalpha(self.alpha)
        options: Mapping[str, Any] = _OPTIONS.get(suffix, {})
        with whole_file(file) as temporary:
            try:
                image.save(temporary, **options, **self._metadata(suffix))
            except Exception:  # metadata that does not fit the format costs no pixel
                image.save(temporary, **options)
                return "its metadata could not be written"
        return ""

    def _metadata(self, suffix: str) -> dict[str, Any]:
        """Returns the options of Pillow's `save` for a format."""
        found = {"icc_profile": self.icc, "exif": self.exif, "dpi": self.others.get("dpi")}
        xmp, comment = self.others.get("xmp"), self.others.get("comment")
        if suffix == ".png":
            texts = dict(self.others.get("texts", {}))
            if comment:
                texts.setdefault("Comment", _text(comment))
            info = PngInfo()
            for key, text in texts.items():
                info.add_itxt(key, text)
            if xmp:
                info.add_itxt("XML:com.adobe.xmp", _text(xmp))
            found["pnginfo"] = info
        elif suffix in (".tif", ".tiff"):
            exif = Image.Exif()
            exif.load(self.exif)
            for tag, value in ((700, xmp), (270, comment)):
                if value and tag not in exif:
                    exif[tag] = value if tag == 700 else _text(value)
            found["exif"] = exif.tobytes() if len(exif) else b""
        else:
            found |= {"xmp": xmp, "comment": comment}
        return {name: value for name, value in found.items() if value}


def _others(info: Mapping[Any, Any], texts: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: str(text)
        for key, text in texts.items()
        if len(text) < _LONGEST_TEXT and not key.startswith(("XML:com.adobe.xmp", "Raw profile"))
    }
    return {key: info[key] for key in ("dpi", "xmp", "comment") if info.get(key)} | ({"texts": kept} if kept else {})


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", errors="replace")
