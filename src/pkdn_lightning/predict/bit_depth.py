"""How many bits a file has per channel: Pillow hands over 8 of them without a word."""

from pathlib import Path
from typing import Final

from PIL import Image

_HEAD: Final = 4096  # bytes in which the headers of all these formats lie


def bits_per_channel(image: Image.Image, file: Path) -> int:
    """Returns the bits per channel that a file holds; 8 where its header does not tell.

    Args:
        image: The image that Pillow read from it.
        file: The file.
    """
    if image.mode in ("I;16", "I", "F"):
        return 16 if image.mode == "I;16" else 32 if image.format == "TIFF" else 16
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, 8)  # type: ignore[attr-defined]  # a TIFF has it
        return max(bits) if isinstance(bits, tuple) else int(bits)
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    try:
        return _from_header(image.format or "", head)
    except (IndexError, ValueError):
        return 8


def _from_header(form: str, head: bytes) -> int:
    if form == "PNG":
        return head[24]  # of IHDR, which comes first
    if form == "PPM" and head[1:2] in b"2356":
        numbers = [word for line in head.splitlines() for word in line.partition(b"#")[0].split()]
        return max(8, int(numbers[3]).bit_length())
    if form == "SGI":
        return 8 * head[3]
    if form == "PSD":
        return int.from_bytes(head[22:24], "big")
    if form == "JPEG2000" and (marker := head.find(b"\xff\x51")) >= 0:
        return 1 + (head[marker + 40] & 0x7F)
    if form == "AVIF" and (av1c := head.find(b"av1C")) >= 0:
        return 10 if head[av1c + 6] & 0x40 else 8  # or 12
    return 8
