"""Unpacks a publisher's archive once, and trusts nothing that is written in it.

All members are checked before the first byte is written. Only plain files and folders whose paths stay inside are
accepted. Links are refused altogether, which is stricter than `tarfile`'s data filter and does not depend on how well
the installed Python resolves them. Unpacking happens in `<folder>.partial`, which is moved when it is complete;
`.unpacked.json` inside names the archive that the folder came from.
"""

import errno
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from rich.filesize import decimal
from rich.markup import escape

from pkdn_lightning.console import console
from pkdn_lightning.data.remote import FULL_DISK, byte_progress
from pkdn_lightning.errors import DataError
from pkdn_lightning.files import exclusive, read_json, write_json

_SUFFIX: Final = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.xz|txz|tar\.bz2|tbz2)$", re.IGNORECASE)
_BY_HAND: Final = re.compile(r"\.(7z(\.\d{3})?|rar)$", re.IGNORECASE)
_CLUTTER: Final = re.compile(r"(^|/)(__macosx|\.ds_store|thumbs\.db|\._[^/]*)(/|$)", re.IGNORECASE)
# Absolute, a drive, or `..`, also with the blanks and dots that Windows ignores.
_OUTSIDE: Final = re.compile(r"^/|(^|/)([A-Za-z]:|[ .]*\.\.[ .]*(/|$))|\0")
_MARKER: Final = ".unpacked.json"
_RATIO = 1000  # deflate cannot do better than 1032; images hardly better than 1
_HARMLESS = 1_000_000_000  # bytes below which the ratio does not matter
_DAMAGE: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError)


def is_archive(path: str | Path) -> bool:
    """Returns whether a file is an archive by its suffix; .7z and .rar included, which `unpack` refuses with a message.

    Example:
        >>> is_archive("faces.tar.gz"), is_archive("img_celeba.7z.001"), is_archive("face.png")
        (True, True, False)
    """
    return any(suffix.search(Path(path).name) for suffix in (_SUFFIX, _BY_HAND))


def unpack(archive: Path) -> Path:
    """Unpacks an archive into `<name>.unpacked` beside it unless that was done before, and returns that folder.

    The modes and dates in the archive are ignored, and so is the clutter of desktops: `__MACOSX`, `._*`, `.DS_Store`,
    `Thumbs.db`. Of members with the same name the last one stays. A folder that came from an earlier version of the
    archive is replaced.

    Args:
        archive: A zip or tar file (the latter plain or compressed by gzip, xz or bzip2), whatever it is called.

    Raises:
        DataError: If the archive is missing, damaged, encrypted, of another kind, too large, or tries to write outside
            of the folder, or if the folder was not made here. Nothing new is left then.
    """
    archive = Path(archive).expanduser().absolute()
    if not archive.is_file():
        raise DataError(
            f"There is no archive at {archive}; found {'a folder' if archive.is_dir() else 'nothing'} there."
        )
    if _BY_HAND.search(archive.name):
        raise _by_7zip(archive, "cannot be unpacked here")
    folder = archive.with_name(f"{_SUFFIX.sub('', archive.name)}.unpacked").resolve()
    with _explained(archive):
        status = archive.stat()
        identity = {"archive": archive.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        if read_json(folder / _MARKER) != identity:  # before the lock: a shared folder may be read-only
            with exclusive(folder, "unpacks"):
                if read_json(folder / _MARKER) != identity:
                    _unpack(archive, folder, identity)
    return folder


def _unpack(archive: Path, folder: Path, identity: dict[str, Any]) -> None:
    if folder.exists() and not read_json(folder / _MARKER) and any(folder.iterdir()):
        raise DataError(
            f"{folder} is already there and was not unpacked from {archive.name}, so it was left alone.\n"
            "Give it directly if it holds the unpacked faces; otherwise move it away and run the same command again."
        )
    unfinished, old = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("partial", "old"))
    for left in (unfinished, old):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        unfinished.mkdir()
        console.print(f"Unpacking {archive.name} ({decimal(archive.stat().st_size)}).")
        with _opened(archive) as members, byte_progress() as bar:
            wanted = [(path, *member) for member in members if (path := _checked_path(archive, member[0]))]
            task = bar.add_task(escape(f"unpacking {archive.name}"), total=_checked_total(archive, wanted))
            for path, entry, read in wanted:
                place = unfinished / path
                (place if entry.isdir() else place.parent).mkdir(parents=True, exist_ok=True)
                if entry.isreg():
                    with read() as source, place.open("wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)  # no library returns more than the promised size
                    if place.stat().st_size != entry.size:
                        raise EOFError(f"{entry.name!r} has less than the {entry.size:,} bytes promised")
                    bar.advance(task, entry.size)
        write_json(unfinished / _MARKER, identity)
        if folder.exists():
            folder.replace(old)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _opened(archive: Path) -> Iterator[list[tuple[tarfile.TarInfo, Callable[[], Any]]]]:
    """Yields an archive's members, each with a function that opens it."""
    with archive.open("rb") as file:
        is_tar = file.read(2) != b"PK" and archive.suffix.lower() != ".zip"
    if is_tar:
        with tarfile.open(archive, "r:*", tarinfo=_StrictTarInfo) as tar:
            yield [(entry, partial(tar.extractfile, entry)) for entry in tar]
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass  # to the end of the compressed stream, where its checksum is
        return
    try:
        zipped = zipfile.ZipFile(archive, metadata_encoding="utf-8")  # macOS does not flag its names as UTF-8
    except UnicodeDecodeError:
        zipped = zipfile.ZipFile(archive)
    with zipped:
        yield [(_as_tar(info), partial(zipped.open, info)) for info in zipped.infolist()]


class _StrictTarInfo(tarfile.TarInfo):
    """A header that reports damage: `tarfile` takes any damaged header but the first for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the proper end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, expected a member or the end mark") from error


def _as_tar(info: zipfile.ZipInfo) -> tarfile.TarInfo:
    """Returns a zip's member as a tar would have it."""
    entry, kind = tarfile.TarInfo(info.orig_filename), stat.S_IFMT(info.external_attr >> 16)
    entry.size = info.file_size
    if info.is_dir() or kind == stat.S_IFDIR:
        entry.type = tarfile.DIRTYPE
    elif kind not in (0, stat.S_IFREG):
        entry.type = tarfile.SYMTYPE  # or a device: no archive of images needs either
    return entry


def _checked_path(archive: Path, entry: tarfile.TarInfo) -> str:
    """Returns where a member goes in the folder; empty for what is left out."""
    path = entry.name.replace("\\", "/")  # on every system, so that an archive is as safe here as on Windows
    outside = _OUTSIDE.search(path)
    if outside or not (entry.isreg() or entry.isdir()):
        raise DataError(
            f"{archive} was not unpacked, because its member {entry.name!r} "
            f"{'leads out of the folder' if outside else 'is a link or a device'}.\nExpected plain files and folders "
            "that stay inside. Get the archive from its publisher; if you trust this one,\nunpack it by hand and give "
            "the folder."
        )
    if entry.size < 0 or not path:
        raise ValueError("a member has no name or a negative size")
    return "" if _CLUTTER.search(path) else path


def _checked_total(archive: Path, wanted: list[tuple[str, tarfile.TarInfo, Any]]) -> int:
    """Returns how many bytes will be written; raises if the archive is a bomb or there is no room for them."""
    total, packed = sum(entry.size for _, entry, _ in wanted), archive.stat().st_size
    if total > _HARMLESS and total > _RATIO * packed:
        raise DataError(
            f"{archive} was not unpacked: its {decimal(packed)} would become {decimal(total)}, more than {_RATIO}:1.\n"
            "That is not an archive of images. Get it from its publisher."
        )
    if total > (free := shutil.disk_usage(archive.parent).free):
        raise OSError(errno.ENOSPC, f"{decimal(total)} would be written, {decimal(free)} are free")
    return total


@contextmanager
def _explained(archive: Path) -> Iterator[None]:
    """Turns what the libraries raise into an error for the user."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:  # encryption, and compression that zipfile does not know
        raise _by_7zip(archive, f"cannot be read here ({error})") from error
    except (*_DAMAGE, OSError) as error:
        number = getattr(error, "errno", None)
        if number in FULL_DISK:
            problem, then = f"cannot be unpacked ({error})", "Make room and run the same command again."
        elif number is not None:
            problem, then = f"cannot be unpacked ({error})", "Unpack it by hand and give the folder."
        else:  # gzip and bz2 report wrong bytes as an OSError without a number; tarfile lists what it tried
            found = (str(error).splitlines() or ["it ends too early"])[0].rstrip(".: ")
            problem, then = f"is damaged or not an archive ({found})", "Delete it and download it again."
        raise DataError(f"{archive} ({archive.stat().st_size:,} bytes) {problem}.\n{then}") from error


def _by_7zip(archive: Path, problem: str) -> DataError:
    return DataError(
        f"{archive} {problem}.\nUnpack it with 7-Zip and give the folder instead:\n  7z x '{archive.name}'"
    )
