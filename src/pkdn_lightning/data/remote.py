"""Files and stores by URL (https://, s3://, gs:// and other fsspec protocols), downloaded into a local cache.

The cache folder is set by the environment variable PKDN_CACHE, by default `~/.cache/pkdn-lightning`. A partial download
is `<name>.<version>.part` beside its target. The version hashes the expected digest and the file's metadata on the
server (size, ETag, date), so a download resumes only if the file is unchanged.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from pkdn_lightning.console import console
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.files import exclusive, whole_file

FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT)
_DIGEST: Final = re.compile("md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_VERSION: Final = ("size", "ETag", "Last-Modified", "LastModified", "updated", "created", "mtime")
_ATTEMPTS: Final = 4  # in a row without new bytes
_PAUSE_S = 1.0  # before the second attempt; doubles with each further one
_TEMPORARY: Final = (408, 416, 425, 429)  # worth a retry; 416: the file on the server became shorter
_STATUS: Final = {FileNotFoundError: 404, PermissionError: 403, ImportError: 400, ValueError: 400}
_LOGIN: Final = "The publisher may require a login or a confirmation in a browser."
_ADVICE: Final = {404: "Look for its new address on the publisher's page.", 401: _LOGIN, 403: _LOGIN}


def is_remote(path: str | Path) -> bool:
    """Returns whether a path is a URL.

    Example:
        >>> is_remote("https://example.org/faces.zip"), is_remote("s3://bucket/celeba"), is_remote("faces.zip")
        (True, True, False)
    """
    return re.match(r"[a-z][a-z0-9+.-]*://\S", str(path), re.IGNORECASE) is not None


def fetch(url: str, *, sha256: str | None = None) -> Path:
    """Downloads a file unless it is cached, and returns its path.

    Args:
        url: The file's URL.
        sha256: Expected hexadecimal digest; other algorithms with a prefix: "md5:<hex>", "sha1:<hex>",
            "sha512:<hex>". A cached file with another digest is renamed to `<file>.wrong`. If None, the SHA-256 is
            printed after the download.

    Raises:
        ConfigError: If `url` is not a URL or `sha256` is not a digest.
        DataError: If the file cannot be downloaded or stored, or has another digest.
    """
    if not is_remote(url):
        raise ConfigError(f"{url!r} is not a URL and cannot be downloaded. Expected e.g. https://<host>/<file>.")
    digest = sha256 if sha256 is None else f"{'' if ':' in sha256 else 'sha256:'}{sha256.strip().lower()}"
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise ConfigError(f"sha256={sha256} is not a digest. Expected 64 hexadecimal digits, or md5:<32 digits>.")
    name = re.sub(r"[^\w.+\- ]", "_", unquote(re.split("[?#]", url)[0].rstrip("/").rpartition("/")[2]))[-100:]
    target = _cache() / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"  # unique per URL
    if target.exists() and (digest is None or _hash(target, digest) == digest):
        return target  # without the lock: a shared folder may be read-only
    with _cache_lock(target):
        if target.exists() and digest is not None and (found := _hash(target, digest)) != digest:
            target.replace(f"{target}.wrong")  # not deleted: the user may have placed it there
            console.print(f"{target} has {found}, expected {digest}. Kept as {target.name}.wrong; downloading again.")
        if not target.exists():
            _download(url, target, digest)
            if digest is None:
                console.print(f"Downloaded {target}\nTo pin its content: sha256={_hash(target, 'sha256:')[7:]}")
    return target


def fetch_store(url: str) -> Path:
    """Downloads a store unless it is cached, and returns its folder; each version has its own folder.

    Raises:
        DataError: If there is no store at the URL, or it cannot be downloaded.
    """
    url = url.rstrip("/")
    try:
        files, path = _file_system(f"{url}/manifest.json")
        manifest: bytes = files.cat_file(path)
        digests: dict[str, str] = json.loads(manifest)["sha256"]
        if any(Path(name).name != name for name in digests):
            raise ValueError("its manifest lists files outside of the store")
    except FileNotFoundError as error:
        raise DataError(f"No store at {url}: there is no manifest.json.") from error
    except Exception as error:  # each file system raises its own types
        raise DataError(f"{url} cannot be read: {error or type(error).__name__}.") from error
    folder = _cache() / "stores" / f"{Path(url).name}-{hashlib.sha256(manifest).hexdigest()[:16]}"
    if (folder / "manifest.json").is_file():
        return folder
    with _cache_lock(folder):
        folder.mkdir(exist_ok=True)
        for name, digest in digests.items():
            if not (folder / name).is_file():
                _download(f"{url}/{name}", folder / name, f"sha256:{digest}")
        with whole_file(folder / "manifest.json") as file:  # last: it marks the store as complete
            file.write_bytes(manifest)
    return folder


def byte_progress() -> Progress:
    """Returns a progress bar that counts bytes."""
    return Progress("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())


def _download(url: str, target: Path, digest: str | None) -> None:
    """Downloads a file and verifies its digest. Attempts that receive new bytes reset the retry count."""
    most, attempts = _received(target), 0
    with byte_progress() as bar:
        bar.add_task(escape(target.name), total=None)
        while True:
            try:
                part = _receive(url, target, digest, bar)
                break
            except Exception as error:  # each file system raises its own types
                if isinstance(error, OSError) and error.errno in FULL_DISK:
                    raise
                attempts = 1 if _received(target) > most else attempts + 1
                most = max(most, _received(target))
                # fsspec turns HTTP errors into FileNotFoundError.
                cause = (error.__cause__ if isinstance(error, FileNotFoundError) else None) or error
                status = getattr(cause, "status", next((_STATUS[k] for k in _STATUS if isinstance(cause, k)), 0))
                if attempts == _ATTEMPTS or (400 <= status < 500 and status not in _TEMPORARY):
                    raise _failure(url, target, cause, status) from error
            time.sleep(_PAUSE_S * 2 ** (attempts - 1))
    if digest is not None and (found := _hash(part, digest)) != digest:
        part.unlink()
        raise DataError(
            f"The file from {url} has {found}, expected {digest}. It was removed.\nRun the same command again. If the "
            "digest is the same again, the publisher has changed the file: correct sha256 if the new file is right."
        )
    part.replace(target)


def _receive(url: str, target: Path, digest: str | None, bar: Progress) -> Path:
    """Downloads the missing bytes of a file in one attempt and returns the complete partial file."""
    files, path = _file_system(url)
    info = files.info(path)
    total, version = info.get("size"), [str(info[key]) for key in _VERSION if info.get(key) is not None]
    part = Path(f"{target}.{hashlib.sha256(repr((digest, version)).encode()).hexdigest()[:8]}.part")
    for other in {*target.parent.glob(f"{target.name}.*.part")} - {part}:
        other.unlink()
    # The size alone does not identify a version of the file.
    have = _received(target) if total is not None and (digest or len(version) > 1) else 0
    if total is not None and total - have > (free := shutil.disk_usage(target.parent).free):
        raise OSError(errno.ENOSPC, f"the disk has {decimal(free)} free, {decimal(total - have)} are needed")
    if have == total and part.exists():
        return part  # complete, but the process ended before the digest was checked
    with _open_at(files, path, have, info) as (source, begin), part.open("ab" if begin else "wb") as file:
        while chunk := source.read(1 << 20):
            if file.tell() == 0 and info.get("mimetype") == "text/html" and chunk.lstrip().startswith(b"<"):
                raise PermissionError("it returned a web page instead of a file")
            file.write(chunk)
            bar.update(bar.task_ids[0], total=total, completed=file.tell())
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"the connection closed after {part.stat().st_size:,} of {total:,} bytes")
    return part


@contextmanager
def _open_at(files: Any, path: str, start: int, info: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    """Opens a remote file at `start`; yields it and its offset, 0 if it changed or the server ignores ranges."""
    if "http" not in files.protocol:
        with files.open(path) as source:
            source.seek(start)
            yield source, start
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    strong = [tag for tag in (info.get("ETag"), info.get("Last-Modified")) if tag and not tag.startswith("W/")]
    headers |= {"If-Range": strong[0]} if start and strong else {}
    with files.open(path, block_size=0, size=1, headers=headers) as source:  # a stream of unknown size
        yield source, start if source.r.headers.get("Content-Range", "").startswith(f"bytes {start}-") else 0


def _file_system(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL and the path in it."""
    import fsspec

    protocol, _, rest = url.partition("://")
    if protocol.lower() not in ("http", "https"):
        return fsspec.url_to_fs(url)
    import aiohttp

    url = f"{protocol.lower()}://{rest}"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
    # trust_env: proxies. No decompression: size and digest refer to the file as published.
    return fsspec.url_to_fs(url, client_kwargs={"trust_env": True, "auto_decompress": False, "timeout": timeout})


def _failure(url: str, target: Path, error: BaseException, status: int) -> DataError:
    reason = f"HTTP {status} {error.message}" if hasattr(error, "message") else str(error) or type(error).__name__
    after = f" after {decimal(received)}" if (received := _received(target)) else ""
    network = "Check the network (behind a proxy: HTTPS_PROXY). The same command resumes the download."
    return DataError(
        f"{url} cannot be downloaded{after}: {reason}.\n{_ADVICE.get(status, network)}\n"
        f"Or download the file elsewhere and save it as\n  {target}"
    )


@contextmanager
def _cache_lock(target: Path) -> Iterator[None]:
    """Locks a file or folder in the cache and turns write errors into `DataError`."""
    try:
        with exclusive(target, "downloads"):
            yield
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}.\nFree disk space or set another cache, "
            "PKDN_CACHE=<folder>. The same command resumes the download."
        ) from error


def _received(target: Path) -> int:
    return sum(part.stat().st_size for part in target.parent.glob(f"{target.name}.*.part"))


def _hash(file: Path, like: str) -> str:
    """Returns a file's digest, "algorithm:hex", with the algorithm of `like`."""
    algorithm = like.partition(":")[0]
    with file.open("rb") as opened:
        return f"{algorithm}:{hashlib.file_digest(opened, algorithm).hexdigest()}"


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "pkdn-lightning")
    return Path(os.environ.get("PKDN_CACHE") or home).expanduser().absolute()
