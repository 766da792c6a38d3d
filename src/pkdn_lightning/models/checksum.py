"""A checksum in every file of weights, compared when the file is read: damaged weights must not load unnoticed.

It is the CRC-32 of the file without the checksum's own eight hexadecimal digits, which stand where the format has room:

    .ckpt, .pt2 (zip archives)    in the archive's comment, at the end of the file
    .onnx                         in a metadata entry, appended to the file
    .safetensors                  in the last metadata entry of the header

A checksum detects accidents, not forgery. Files without one are read as they are, except that the records of a zip
archive are compared with the checksums that the archive itself holds.
"""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

from pkdn_lightning.errors import CheckpointError

CHECKSUM_KEY: Final = "pkdn_lightning_crc32"
"""Name of the checksum in the metadata of a safetensors or ONNX file."""

_DIGITS: Final = 8
_ZIP_MARK: Final = b"pkdn_lightning_crc32="
_ZIP_BEGIN: Final = b"PK\x03\x04"
_ZIP_END: Final = b"PK\x05\x06"
_ZIP_END_BYTES: Final = 22
# Field 14 (metadata_props) of ONNX's ModelProto: an entry with the key as field 1 and the digits as field 2.
_ENTRY: Final = b"\x0a" + bytes([len(CHECKSUM_KEY)]) + CHECKSUM_KEY.encode() + b"\x12" + bytes([_DIGITS])
_ONNX_MARK: Final = b"\x72" + bytes([len(_ENTRY) + _DIGITS]) + _ENTRY
_HEADER_MARK: Final = f',"{CHECKSUM_KEY}":"'.encode()
_HEADER_END: Final = b'"}}'


def add_checksum(file: Path) -> None:
    """Adds a checksum to a zip archive (`.ckpt`, `.pt2`) or an ONNX file that has none.

    Raises:
        OSError: If the file cannot be changed.
    """
    content = file.read_bytes()
    if _ends_as_zip(content):
        content = content[:-2] + struct.pack("<H", len(_ZIP_MARK) + _DIGITS) + _ZIP_MARK
    else:
        content += _ONNX_MARK
    file.write_bytes(content + _crc32(content))


def safetensors_with_checksum(content: bytes) -> bytes:
    """Returns the bytes of a safetensors file with a checksum added to its metadata."""
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    header: dict[str, Any] = json.loads(content[8:begin])
    header["__metadata__"] = {**header.pop("__metadata__", {}), CHECKSUM_KEY: "0" * _DIGITS}  # last in the header
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of 8 bytes
    made = bytearray(struct.pack("<Q", len(text)) + text + content[begin:])
    place = 8 + len(text.rstrip()) - len(_HEADER_END) - _DIGITS
    made[place : place + _DIGITS] = _crc32(bytes(made[:place]), bytes(made[place + _DIGITS :]))
    return bytes(made)


def check_checksum(file: Path) -> None:
    """Compares a file with its checksum, if it has one.

    Raises:
        CheckpointError: If they differ: the file was damaged.
    """
    content = memoryview(file.read_bytes())
    place = _place(content)
    if place is None:
        intact = bytes(content[:4]) != _ZIP_BEGIN or (_ends_as_zip(content) and _records_are_intact(file))
    else:
        intact = bytes(content[place : place + _DIGITS]) == _crc32(content[:place], content[place + _DIGITS :])
    if not intact:
        raise CheckpointError(
            f"{file} is damaged or truncated: its contents do not match its checksum. Copy it again, or use another "
            "copy or the other checkpoint of the run (best.ckpt, last.ckpt).\nIf another program changed it on "
            f"purpose, remove the checksum: the metadata entry '{CHECKSUM_KEY}', or the comment of the archive."
        )


def _ends_as_zip(content: bytes | memoryview) -> bool:
    """Returns whether this is the end of a zip archive without a comment."""
    return bytes(content[-_ZIP_END_BYTES:][:4]) == _ZIP_END and bytes(content[-2:]) == b"\0\0"


def _place(content: memoryview) -> int | None:
    """Returns where the digits of the checksum begin; None if there is no checksum."""
    at_end = len(content) - _DIGITS
    for mark in (_ZIP_MARK, _ONNX_MARK):
        if _resembles(content[max(0, at_end - len(mark)) : at_end], mark):
            return at_end
    if len(content) > _DIGITS:
        begin = 8 + struct.unpack("<Q", content[:8])[0]
        if begin <= len(content) < 2**63:
            header = bytes(content[:begin]).rstrip()
            place = len(header) - len(_HEADER_END) - _DIGITS
            if _resembles(header[max(0, place - len(_HEADER_MARK)) : place], _HEADER_MARK):
                return place
    return None


def _resembles(found: bytes | memoryview, mark: bytes) -> bool:
    """Returns whether bytes are a mark, perhaps a damaged one: a checksum must not be overlooked for a wrong byte."""
    return len(found) == len(mark) and sum(a == b for a, b in zip(found, mark, strict=True)) > len(mark) / 2


def _records_are_intact(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
        return False


def _crc32(*parts: bytes | memoryview) -> bytes:
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return f"{value:08x}".encode()
