"""Unpacks a publisher's archive once, and trusts nothing that is written in it.

The whole list of members is looked at before the first byte is written; links, devices and paths that lead elsewhere
refuse the archive. What is written goes to `<folder>.partial` and is moved when it is whole, so a folder that is there
is complete. `.unpacked.json` inside says which archive it came from.
"""

import contextlib
import errno
import json
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NamedTuple, Protocol, Self

from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pkdn_lightning.errors import DataError
from pkdn_lightning.files import exclusive

_SUFFIXES: Final = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_BY_HAND: Final = re.compile(r"\.(7z(\.\d{3})?|rar)$", re.IGNORECASE)
_CLUTTER: Final = ("__macosx", ".ds_store", "thumbs.db")
_MARKER: Final = ".unpacked.json"
_CHUNK: Final = 1 << 20
_RATIO = 1000  # deflate cannot do better than 1032; images hardly better than 1
_HARMLESS = 1_000_000_000  # bytes below which the ratio does not matter
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_DAMAGE: Final = (
    zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, struct.error, UnicodeError, ValueError,
)  # fmt: skip


def is_archive(path: str | Path) -> bool:
    """Returns whether a file is an archive by its suffix.

    That holds for .7z and .rar too, which `unpack` cannot open: it says what to do instead.

    Example:
        >>> is_archive("faces.tar.gz"), is_archive("img_celeba.7z.001"), is_archive("face.png")
        (True, True, False)
    """
    name = Path(path).name.lower()
    return name.endswith(_SUFFIXES) or _BY_HAND.search(name) is not None


def unpack(archive: Path, into: Path | None = None) -> Path:
    """Unpacks an archive unless that was done before, and returns the folder.

    Processes that unpack the same archive at the same time do it once. The modes and dates in the archive are ignored,
    and so is the clutter of desktops: `__MACOSX`, `._*`, `.DS_Store`, `Thumbs.db`. Of members with the same name the
    last one stays.

    Args:
        archive: A .zip, .tar, .tar.gz, .tgz, .tar.xz, .txz, .tar.bz2 or .tbz2.
        into: The folder; `<name>.unpacked` beside the archive by default. A folder that came from another archive, or
            from this one before it changed, is replaced; one that was not made here is refused unless it is empty.

    Raises:
        DataError: If the archive is missing, damaged, encrypted, of another kind, too large, or tries to write outside
            of the folder. Nothing new is left then.
    """
    archive = Path(archive).expanduser().absolute()
    _check_kind(archive)
    folder = archive.parent / f"{_stem(archive)}.unpacked" if into is None else Path(into).expanduser().absolute()
    if folder.is_symlink():
        folder = folder.resolve()  # what it points to is replaced, not the link
    with _explained(archive, folder):
        status = archive.stat()
        identity = {"archive": archive.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        if _marker(folder) == identity:
            return folder  # before the lock: a shared folder may be read-only
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder, "unpacks"):
            if _marker(folder) != identity:
                _unpack(archive, folder, identity)
    return folder


class _Member(NamedTuple):
    """One entry of an archive.

    Attributes:
        name: As written in the archive.
        path: Where it goes, relative to the folder; None for clutter and for the top itself.
        size: Bytes it promises to have.
        is_folder: Whether it is a folder.
        entry: What the archive's library knows it by.
    """

    name: str
    path: PurePosixPath | None
    size: int
    is_folder: bool
    entry: Any


class _Archive(Protocol):
    def members(self) -> list[_Member]:
        """Returns all members, checked."""

    def open(self, member: _Member) -> IO[bytes]:
        """Returns what a member holds."""

    def finish(self) -> None:
        """Reads what is behind the last member, for the sake of its checksum."""


class _Listed:
    """What both kinds share: the check of every member.

    Args:
        path: The archive's file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def members(self) -> list[_Member]:
        """Returns all members in the archive's order.

        Raises:
            DataError: If one is not what an archive of images may hold.
        """
        return [self._member(*described) for described in self._describe()]

    @abstractmethod
    def _describe(self) -> Iterator[tuple[str, str, int, Any]]:
        """Yields name, kind ("file", "folder", or what else it is), size and the library's entry."""

    def _member(self, name: str, kind: str, size: int, entry: Any) -> _Member:
        problem = _problem(name) or ("" if kind in ("file", "folder") else f"is {kind}")
        if problem:
            raise DataError(
                f"{self.path} was not unpacked, because its member {name!r} {problem}.\n"
                "Expected plain files and folders that stay inside. Get the archive from its publisher; if you trust "
                "this one,\nunpack it by hand and give the folder."
            )
        if size < 0:
            raise ValueError(f"{name!r} has a negative size")
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts and kind == "file":
            raise ValueError("a member has no name")
        clutter = any(part.lower() in _CLUTTER or part.startswith("._") for part in parts)
        path = PurePosixPath(*parts) if parts and not clutter else None
        return _Member(name, path, size if kind == "file" and path else 0, kind == "folder", entry)


class _Zip(_Listed):
    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._zip = opened

    def _describe(self) -> Iterator[tuple[str, str, int, Any]]:
        for entry in self._zip.infolist():
            if entry.flag_bits & 0x1:
                raise DataError(
                    f"{self.path} is encrypted (its member {entry.filename!r} wants a password).\n"
                    f"Unpack it by hand, e.g. with 7-Zip: 7z x '{self.path.name}', and give the folder."
                )
            kind = _KINDS.get(stat.S_IFMT(entry.external_attr >> 16), "a special file")
            if kind == "file" and entry.is_dir():
                kind = "folder"
            yield _zip_name(entry), kind, entry.file_size, entry

    def open(self, member: _Member) -> IO[bytes]:
        return self._zip.open(member.entry)

    def finish(self) -> None:
        """Every member of a zip has a checksum of its own."""


class _Tar(_Listed):
    def __init__(self, path: Path, opened: tarfile.TarFile) -> None:
        super().__init__(path)
        self._tar = opened

    def _describe(self) -> Iterator[tuple[str, str, int, Any]]:
        for entry in self._tar:
            kind = (
                "file" if entry.isreg() else "folder" if entry.isdir() else _TAR_KINDS.get(entry.type, "a special file")
            )
            if entry.islnk() or entry.issym():
                kind = f"{kind} to {entry.linkname!r}"
            yield entry.name, kind, entry.size, entry

    def open(self, member: _Member) -> IO[bytes]:
        opened = self._tar.extractfile(member.entry)
        if opened is None:
            raise tarfile.ReadError(f"{member.name!r} cannot be read")
        return opened

    def finish(self) -> None:
        while self._tar.fileobj is not None and self._tar.fileobj.read(_CHUNK):
            pass


class _StrictTarInfo(tarfile.TarInfo):
    """A header that says so when it is damaged: `tarfile` takes any one but the first for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the mark of a proper end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, expected a member or the end mark") from error


_KINDS: Final = {
    0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket",
}  # fmt: skip
_TAR_KINDS: Final = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a fifo",
}  # fmt: skip


def _problem(name: str) -> str:
    """Returns why a member's path is not followed; empty if it is.

    A backslash counts as a slash on every system: an archive is as safe here as it is on Windows.
    """
    slashed = name.replace("\\", "/")
    if "\0" in name:
        return "has a zero byte in its name"
    if slashed.startswith("/"):
        return "has an absolute path"
    for part in slashed.split("/"):
        if re.match("[A-Za-z]:", part):
            return "has a drive letter in its path"
        if part not in ("", ".") and not part.strip(" ."):  # Windows drops blanks and dots at the end: '.. ' is '..'
            return "leads out of the folder"
    return ""


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Returns a member's name; UTF-8 without its flag, which macOS writes, is read as such."""
    name = entry.orig_filename  # `filename` is cut at a zero byte
    if not entry.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            return name.encode("cp437").decode("utf-8")
    return name


def _check_kind(archive: Path) -> None:
    if not archive.is_file():
        found = "a folder" if archive.is_dir() else "nothing"
        raise DataError(f"There is no archive at {archive}; found {found} there.")
    if _BY_HAND.search(archive.name):
        raise DataError(
            f"{archive} cannot be unpacked here. Unpack it with 7-Zip and give the folder instead:\n"
            f"  7z x '{archive.name}'"
        )
    if not is_archive(archive):
        raise DataError(f"{archive} is no archive by its name. Expected one that ends in {', '.join(_SUFFIXES)}.")


def _unpack(archive: Path, folder: Path, identity: dict[str, Any]) -> None:
    partial, old = (folder.with_name(f"{folder.name}.{suffix}") for suffix in ("partial", "old"))
    if folder.exists() and _marker(folder) is None and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            f"{folder} is already there and was not unpacked from {archive.name}, so it was left alone.\n"
            "Give it directly if it holds the unpacked faces; otherwise move it away and type the same command again."
        )
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    _remove(partial)  # what a process that ended half-way left
    _remove(old)
    try:
        partial.mkdir()
        with _opened(archive) as opened:
            members = opened.members()
            total = _room(archive, folder, members)
            with Progress(*columns) as bar:
                task = bar.add_task(f"unpacking {archive.name}", total=total)
                made = {partial}
                for member in members:
                    if member.path is None:
                        continue
                    place = partial / member.path
                    _make(place if member.is_folder else place.parent, made)
                    if not member.is_folder:
                        _copy(opened.open(member), place, member)
                        bar.advance(task, member.size)
                opened.finish()
        (partial / _MARKER).write_text(json.dumps(identity) + "\n", encoding="utf-8")
        if folder.exists():
            folder.replace(old)
        partial.replace(folder)
    finally:
        _remove(partial)
    _remove(old)


def _room(archive: Path, folder: Path, members: list[_Member]) -> int:
    """Returns how many bytes will be written.

    Raises:
        DataError: If they are more than there is room for, or than an honest archive of this size could hold.
    """
    total, packed = sum(member.size for member in members), archive.stat().st_size
    if total > _HARMLESS and total > _RATIO * packed:
        raise DataError(
            f"{archive} was not unpacked: its {decimal(packed)} would become {decimal(total)}, more than {_RATIO}:1.\n"
            "That is no archive of images. Get it from its publisher."
        )
    free = shutil.disk_usage(folder.parent).free
    if total > free:
        raise DataError(
            f"There is no room to unpack {archive}: {decimal(total)} would be written, {decimal(free)} are free below "
            f"{folder.parent}.\nMake room and type the same command again, or unpack it elsewhere and give the folder."
        )
    return total


def _make(folder: Path, made: set[Path]) -> None:
    if folder not in made:  # asked for every image, and a disk may be slow
        folder.mkdir(parents=True, exist_ok=True)
        made.add(folder)


def _copy(source: IO[bytes], place: Path, member: _Member) -> None:
    """Writes a member, and never more than the size it promised."""
    left = member.size
    with source, place.open("wb") as file:
        while left and (chunk := source.read(min(left, _CHUNK))):
            _write(file, chunk)
            left -= len(chunk)
        if left or source.read(1):  # reading on to the end compares the checksum, too
            raise EOFError(f"{member.name!r} has {'less' if left else 'more'} than the {member.size:,} bytes promised")


def _write(file: IO[bytes], chunk: bytes) -> None:
    file.write(chunk)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[_Archive]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as zipped:
            yield _Zip(archive, zipped)
    else:
        with tarfile.open(archive, "r:*", tarinfo=_StrictTarInfo) as tar:
            yield _Tar(archive, tar)


@contextlib.contextmanager
def _explained(archive: Path, folder: Path) -> Iterator[None]:
    """Turns whatever the libraries raise into an error for the user."""
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except (NotImplementedError, RuntimeError) as error:  # methods such as deflate64, which zipfile does not know
        raise DataError(
            f"{archive} is packed in a way that cannot be read here: {error}.\n"
            f"Unpack it with 7-Zip and give the folder instead:\n  7z x '{archive.name}'"
        ) from error
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report wrong bytes so
            raise _damaged(archive, error) from error
        if error.errno in _FULL:
            raise DataError(
                f"The disk became full while {archive} was unpacked into {folder}; what was written is removed.\n"
                "Make room and type the same command again, or unpack it elsewhere and give the folder."
            ) from error
        raise DataError(f"{archive} cannot be unpacked into {folder}: {error}.") from error


def _damaged(archive: Path, error: Exception) -> DataError:
    found = (str(error).splitlines() or ["it ends too early"])[0].rstrip(".: ")  # tarfile lists what it tried
    return DataError(
        f"{archive} ({archive.stat().st_size:,} bytes) is damaged; download it again. Found: {found}.\n"
        "Delete it first, so that it is not taken for the right one."
    )


def _marker(folder: Path) -> dict[str, Any] | None:
    """Returns which archive a folder came from, or None if it was not made here."""
    try:
        found = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _stem(archive: Path) -> str:
    suffix = max((suffix for suffix in _SUFFIXES if archive.name.lower().endswith(suffix)), key=len)
    return archive.name[: -len(suffix)] or archive.name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
