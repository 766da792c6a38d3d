"""Downloads a publisher's file once, and goes on where a broken download stopped.

Files lie in the user's cache folder, or in the folder that the environment variable PKDN_CACHE names. Beside a file on
its way lie `<file>.part`, what has come so far, and `<file>.part.json`, what the server said about the file: its ETag,
its date and its size. The next try asks for the rest on condition that they are still the same (RFC 9110, 13.1.5).
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.files import exclusive

if TYPE_CHECKING:  # both take a while to import, and `pkdn --help` has no use for them
    import requests

_DIGITS: Final = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_TIMEOUT_S: Final = (15.0, 60.0)  # to connect; between two pieces of an answer
_TRIES = 4  # in a row that bring nothing new
_PAUSE_S = 1.0  # before the second try; doubles with each one after
_CHUNK = 1 << 16  # at most this much is lost when a connection breaks
_AGAIN: Final = (408, 425, 429, 500, 502, 503, 504)  # answers that may be other ones in a moment
_FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def is_url(text: str) -> bool:
    """Returns whether a text is a web address that `fetch` can download.

    Example:
        >>> is_url("https://example.org/faces.zip"), is_url("faces.zip"), is_url("ftp://example.org/faces.zip")
        (True, False, False)
    """
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises like urlsplit does when an address is spoiled
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and re.search(r"\s", text) is None


def fetch(url: str, *, sha256: str | None = None, size: int | None = None, folder: Path | None = None) -> Path:
    """Downloads a file unless it is there already, and returns where it lies.

    What is there already is compared with `sha256` and `size`; a file that does not fit is set aside as `<file>.wrong`
    and downloaded anew. Processes that want the same file at the same time download it once. An interrupted download
    goes on where it stopped when the server allows it.

    Args:
        url: http or https address.
        sha256: Hex digits the file has to have. Where a publisher gives another digest, it is named in front:
            "md5:<hex>", "sha1:<hex>" or "sha512:<hex>". If None, the SHA-256 found is printed after the download, to be
            pinned.
        size: Bytes the file has to have, if known.
        folder: Where the file is kept; by default the folder that PKDN_CACHE names, else the user's cache folder. The
            file's name there begins with eight digits that stand for the address, so that no two are confused.

    Raises:
        ConfigError: If `url` is no web address, or `sha256` is no digest.
        DataError: If the file cannot be had: no network, not there, not allowed, no room, or not what was expected.
    """
    if not is_url(url):
        raise ConfigError(f"{url!r} cannot be downloaded. Expected an address with http:// or https://.")
    digest = _digest(sha256)
    target = _folder(folder) / _name(url)
    if target.exists() and not _differs(target, digest, size):
        return target  # before the lock: a shared folder may be read-only
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(target, "downloads"):
            return _fetch(url, target, digest, size)
    except OSError as error:
        raise DataError(
            f"{url} cannot be kept at {target}: {error.strerror or error}.\n"
            "Make the folder writable, or choose another one: PKDN_CACHE=<folder>"
        ) from error


def _fetch(url: str, target: Path, digest: str | None, size: int | None) -> Path:
    import pooch

    if target.exists():
        wrong = _differs(target, digest, size)
        if not wrong:
            return target  # another process downloaded it while this one waited
        aside = target.with_name(f"{target.name}.wrong")  # no deletion: it may have been put here by hand
        target.replace(aside)
        Console().print(f"{target} {wrong}. It is now {aside.name}; downloading anew.", soft_wrap=True, markup=False)
    download = _Download(target, digest, size)
    with _quiet(pooch.get_logger()):
        pooch.retrieve(url, known_hash=digest, fname=target.name, path=target.parent, downloader=download)
    if digest is None:
        Console().print(
            f"Downloaded {target}\nIts SHA-256 was not known; pin it with sha256={download.found}",
            soft_wrap=True,
            markup=False,
        )
    return target


class _BrokenError(Exception):
    """A try that failed for a reason that may be gone at the next one."""


class _Download:
    """Downloads in pieces of what is still missing; what pooch calls a downloader.

    Args:
        target: Where the file will lie.
        digest: "algorithm:hex" the file has to have, or None.
        size: Bytes the file has to have, or None.

    Attributes:
        found: Hex digits of the file that came, by the algorithm of `digest` or SHA-256.
    """

    def __init__(self, target: Path, digest: str | None, size: int | None) -> None:
        self.target, self.digest, self.size = target, digest, size
        self.found = ""
        self._part = target.with_name(f"{target.name}.part")
        self._record = target.with_name(f"{target.name}.part.json")

    def __call__(self, url: str, output: str, _: Any) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns) as bar:
            self._persist(url, bar)
        self._check(url)
        self._part.replace(output)
        self._record.unlink(missing_ok=True)

    def _persist(self, url: str, bar: Progress) -> None:
        """Tries until the file is there.

        Tries count only while they bring nothing new, so that a long download survives any number of breaks, and one
        that begins from the start again and again ends.
        """
        import requests
        import urllib3

        task = bar.add_task(self.target.name, total=self.size, completed=self._have())
        furthest, tries = self._have(), 0
        with requests.Session() as session:
            while True:
                try:
                    return self._receive(session, url, bar, task)
                except (
                    _BrokenError,
                    requests.ConnectionError,
                    requests.Timeout,
                    requests.exceptions.ChunkedEncodingError,
                    urllib3.exceptions.HTTPError,
                ) as error:
                    have = self._have()
                    tries = 1 if have > furthest else tries + 1
                    furthest = max(furthest, have)
                    if tries >= _TRIES:
                        raise self._unreachable(url, _reason(error)) from error
                except requests.RequestException as error:  # too many redirects, a proxy's address, ...
                    raise self._unreachable(url, _reason(error)) from error
                except OSError as error:
                    if error.errno in _FULL:
                        raise self._full() from error
                    raise
                time.sleep(_PAUSE_S * 2 ** (tries - 1))

    def _receive(self, session: "requests.Session", url: str, bar: Progress, task: Any) -> None:
        record, have = self._recall(), self._have()
        if have and have == record.get("total"):
            return  # all had come, and the process ended before it was checked
        # Bytes as they are: a packed answer has another length, and its ranges count other bytes
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if record["validator"]:
                headers["If-Range"] = record["validator"]
        with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            self._refuse(answer, url)
            start, total = self._place(answer, record, have)
            self._expect(url, start, total)
            with self._part.open("ab" if start else "wb") as file:
                if not start:
                    self._remember({"validator": _validator(answer), "total": total})
                bar.reset(task, total=total or self.size, completed=start)
                for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                    if not start and file.tell() == 0:
                        self._refuse_page(answer, url, chunk)
                    _write(file, chunk)
                    bar.advance(task, len(chunk))
        have = self._part.stat().st_size
        if total is not None and have < total:
            raise _BrokenError("the connection was closed early")

    def _refuse(self, answer: "requests.Response", url: str) -> None:
        """Ends the download, or this try, when the answer is no file."""
        code = answer.status_code
        if code in (200, 206):
            return
        said = f"HTTP {code} {answer.reason or ''}".strip()
        if code == 416:  # more is here than the server has: it is another file by now
            self._forget()
        if code in (*_AGAIN, 416):
            raise _BrokenError(f"the server answers {said}")
        if code in (404, 410):
            raise DataError(
                f"There is no file at {url} ({said}).\n"
                "Look on the publisher's page where it is now and give that address, or put the file by hand at\n"
                f"  {self.target}"
            )
        reason = "; the publisher may forbid direct downloads" if code in (401, 403, 407, 451) else ""
        raise DataError(
            f"{url} does not give the file: {said}{reason}.\n"
            "Download it with a browser, agree to the terms there if asked, and put it at\n"
            f"  {self.target}\nThen type the same command again."
        )

    def _refuse_page(self, answer: "requests.Response", url: str, chunk: bytes) -> None:
        """Ends the download of a page in the file's stead: what servers send that want a login or a confirmation."""
        page = re.match(rb"\s*(<!doctype html|<html)", chunk[:200].removeprefix(b"\xef\xbb\xbf"), re.IGNORECASE)
        kind = answer.headers.get("Content-Type", "")
        if page and "html" in kind and self.target.suffix.lower() not in (".html", ".htm"):
            self._forget()
            raise DataError(
                f"{url} answers with a web page ({kind}), expected a file: it may ask for a login or a confirmation.\n"
                f"Download the file with a browser and put it at\n  {self.target}\nThen type the same command again."
            )

    def _place(self, answer: "requests.Response", record: dict[str, Any], have: int) -> tuple[int, int | None]:
        """Returns where what the answer brings begins in the file, and how long the file is in all, if told."""
        if answer.status_code == 200:  # the whole: nothing was here, it changed, or ranges are unknown to the server
            length = answer.headers.get("Content-Length", "")
            return 0, int(length) if length.isdecimal() else None
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", "").strip())
        fits = told is not None and int(told[1]) == have > 0 and int(told[2]) == record["total"]
        # Some servers send a range of the new file, whatever the condition: two halves would become one wrong file
        if told is None or not fits or _validator(answer) not in (record["validator"], None):
            self._forget()
            raise _BrokenError("the file has changed on the server")
        return have, int(told[2])

    def _expect(self, url: str, start: int, total: int | None) -> None:
        """Ends the download before it begins when its size is wrong or there is no room."""
        if total is None:
            return
        if self.size is not None and total != self.size:
            self._forget()
            raise DataError(self._wrong(url, f"has {total:,} bytes, expected {self.size:,}"))
        here = self._part.stat().st_size if not start and self._part.exists() else 0  # what will be written over
        if total - start > shutil.disk_usage(self.target.parent).free + here:
            raise self._full(total - start)

    def _check(self, url: str) -> None:
        """Compares what came with what was expected.

        Raises:
            DataError: If it differs. The file is gone then, so that the next try starts anew.
        """
        have = self._part.stat().st_size
        if self.size is not None and have != self.size:
            self._forget()
            raise DataError(self._wrong(url, f"has {have:,} bytes, expected {self.size:,}"))
        algorithm = self.digest.partition(":")[0] if self.digest else "sha256"
        self.found = _hash(self._part, algorithm)
        if self.digest and self.digest != f"{algorithm}:{self.found}":
            self._forget()
            raise DataError(self._wrong(url, f"has {algorithm}:{self.found}, expected {self.digest}"))

    def _wrong(self, url: str, difference: str) -> str:
        return (
            f"What came from {url} {difference}. It was removed.\n"
            "Type the same command again to download it anew. If it comes out the same, the publisher has changed the "
            "file:\nlook on the publisher's page, and correct sha256 and size if the new file is the right one."
        )

    def _unreachable(self, url: str, reason: str) -> DataError:
        have = self._have()
        total = self._recall().get("total")
        came = f" after {decimal(have)}" + (f" of {decimal(total)}" if total else "") if have else ""
        then = "it goes on where it stopped" if have and self._recall() else "it starts from the beginning"
        return DataError(
            f"{url} cannot be downloaded{came}: {reason}.\n"
            f"Look at the network, and behind a proxy at HTTPS_PROXY; then type the same command again, {then}.\n"
            f"Or download the file elsewhere and put it at\n  {self.target}"
        )

    def _full(self, missing: int | None = None) -> DataError:
        if missing is None and (total := self._recall().get("total")):
            missing = total - self._have()
        need = f"; {decimal(missing)} are still to come" if missing else ""
        free = shutil.disk_usage(self.target.parent).free
        return DataError(
            f"There is no room for {self.target}: {decimal(free)} are free{need}.\n"
            "Make room and type the same command again, it goes on where it stopped; or keep files elsewhere: "
            "PKDN_CACHE=<folder>"
        )

    def _have(self) -> int:
        """Returns how many bytes of the file are here and can be built upon."""
        if not self._part.is_file():
            return 0
        record, have = self._recall(), self._part.stat().st_size
        total = record.get("total")
        # Without an ETag or a date nothing tells that the file is still the same, but for a digest of the whole
        sure = record.get("validator") or self.digest
        return have if sure and isinstance(total, int) and have <= total else 0

    def _recall(self) -> dict[str, Any]:
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) and {"validator", "total"} <= record.keys() else {}

    def _remember(self, record: dict[str, Any]) -> None:
        self._record.write_text(json.dumps(record), encoding="utf-8")

    def _forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)


def _validator(answer: "requests.Response") -> str | None:
    """Returns what tells a file from its next version: the strong ETag, else the date."""
    tag = answer.headers.get("ETag", "")
    if tag.startswith('"'):  # a weak one, W/"...", may stand for other bytes
        return tag
    return answer.headers.get("Last-Modified")


def _write(file: Any, chunk: bytes) -> None:
    file.write(chunk)


def _digest(sha256: str | None) -> str | None:
    """Returns "algorithm:hex" in small letters."""
    if sha256 is None:
        return None
    algorithm, colon, digits = sha256.strip().lower().rpartition(":")
    algorithm = algorithm if colon else "sha256"
    if algorithm not in _DIGITS:
        raise ConfigError(
            f"sha256={sha256} begins with {algorithm}:, expected one of {', '.join(f'{name}:' for name in _DIGITS)}."
        )
    if re.fullmatch(f"[0-9a-f]{{{_DIGITS[algorithm]}}}", digits) is None:
        raise ConfigError(
            f"sha256={sha256} is no digest: {algorithm} has {_DIGITS[algorithm]} hex digits, found {len(digits)} "
            "characters.\nAnother kind of digest has its name in front, e.g. sha256=md5:<32 digits>."
        )
    return f"{algorithm}:{digits}"


def _differs(file: Path, digest: str | None, size: int | None) -> str:
    """Returns in what a file differs from what it has to be; empty if it does not."""
    found = file.stat().st_size
    if size is not None and found != size:
        return f"has {found:,} bytes, expected {size:,}"
    if digest is not None:
        algorithm = digest.partition(":")[0]
        if (digits := _hash(file, algorithm)) != digest.partition(":")[2]:
            return f"has {algorithm}:{digits}, expected {digest}"
    return ""


def _hash(file: Path, algorithm: str) -> str:
    import pooch

    digits: str = pooch.file_hash(str(file), alg=algorithm)
    return digits


def _folder(folder: Path | None) -> Path:
    if folder is None:
        import pooch

        folder = Path(os.environ.get("PKDN_CACHE") or pooch.os_cache("pkdn-lightning"))
    return folder.expanduser().absolute()


def _name(url: str) -> str:
    """Returns the name of an address's file: what the address calls it, behind digits of the address.

    The last piece that ends like a file is taken, for some servers put a verb behind it: `.../faces.zip/content`.

    Example:
        >>> _name("https://example.org/records/7/files/my%20faces.zip/content?download=1")
        '81855b95-my faces.zip'
    """
    parts = urlsplit(url)
    pieces = [unquote(piece) for piece in parts.path.split("/") if piece]
    candidates = [*reversed(pieces), *(value.rpartition("/")[2] for _, value in parse_qsl(parts.query))]
    like_file = (piece for piece in candidates if re.search(r"[^.]\.[A-Za-z][A-Za-z0-9]{0,4}$", piece))
    name = next(like_file, pieces[-1] if pieces else "file")
    safe = re.sub(r"[^\w.+\- ]", "_", name)[-100:]
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{safe}"


def _reason(error: BaseException) -> str:
    """Returns the innermost reason of a network error, without the addresses of objects around it."""
    inner: Any = error
    while True:
        following = getattr(inner, "reason", None) or (inner.args[0] if getattr(inner, "args", None) else None)
        if not isinstance(following, BaseException):
            break
        inner = following
    text = re.sub(r"<[^<>]*object at 0x[0-9a-f]+>:? ?", "", str(inner) or type(inner).__name__)
    return re.sub(r"^HTTPS?Connection(Pool)?\(.*?\): ", "", text).rstrip(".")


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Silences pooch, which would tell to pin the digest in its own words."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
