"""Atomic file writes, file hashes, and locks between processes."""

import contextlib
import hashlib
import json
import os
import platform
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from pkdn_lightning.console import console


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary file that replaces `path` atomically when the block ends without an error.

    After a crash or on a full disk, `path` is unchanged.

    Args:
        path: The file. Its folder is created if missing.

    Yields:
        A path in the same folder with the same suffix, for libraries that choose the format by suffix.

    Raises:
        OSError: If the file cannot be written; it names `path`.

    Example:
        >>> with whole_file("a.txt") as file:
        ...     _ = file.write_text("all of it")
        >>> Path("a.txt").read_text()
        'all of it'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{_HOST}-{os.getpid()}.{_short(path)}")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())  # otherwise a power cut could leave an empty file under the new name
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # a failed write names no file; the temporary one means nothing
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _short(path: Path) -> str:
    """Returns the file's name, or a hash of one that would become too long for a file system with more in front."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= 200 else f"{zlib.crc32(name):08x}{path.suffix}"


_HOST: Final = f"{zlib.crc32(platform.node().encode()):08x}"


def _remove_leftovers(path: Path) -> None:
    """Removes the temporary files of processes that were killed while writing `path`."""
    begin, end = f".{_HOST}-", f".{_short(path)}"
    for name in os.listdir(path.parent):  # noqa: PTH208  # faster than a Path for each of thousands of names
        if name.startswith(begin) and name.endswith(end):
            pid = name.removeprefix(begin).removesuffix(end)
            if pid.isdigit() and not _is_alive(int(pid)):
                path.with_name(name).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # a process of another user
    return True


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically; see `whole_file`."""
    with whole_file(path) as file:
        file.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes JSON atomically; see `whole_file`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Returns the mapping in a JSON file; empty if the file is missing or holds no mapping."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def file_sha256(file: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextlib.contextmanager
def exclusive(path: Path, activity: str) -> Iterator[None]:
    """Holds a lock so that one process at a time makes a file or folder; prints a message when it has to wait.

    Args:
        path: The file or folder. The lock file is beside it; the system releases it when the process ends.
        activity: Verb for the message, e.g. `downloads`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.print(f"Waiting for another process that {activity} {path.name}.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove_if_empty(folder: Path) -> None:
    """Removes a folder and its parents below the current folder as far as they are empty."""
    with contextlib.suppress(OSError):
        for each in (folder, *folder.parents):
            if each.is_dir() and Path.cwd() in each.resolve().parents:
                each.rmdir()
