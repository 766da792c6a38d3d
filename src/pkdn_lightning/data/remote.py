"""Stores that lie elsewhere: read by URL into a local cache, through fsspec (s3://, gs://, https://, memory://...).

Which protocols there are is fsspec's affair: `pip install s3fs` adds s3://, `gcsfs` adds gs://.
"""

import json
import os
from pathlib import Path
from typing import Any

import fsspec
from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pkdn_lightning.errors import DataError

_BLOCK = 1 << 20


def is_remote(path: str | Path) -> bool:
    """Returns whether a store's place is a URL."""
    return "://" in str(path)


def cached(url: str) -> Path:
    """Returns the local copy of a remote store, fetched when it is not there yet; an interrupted fetch goes on.

    Copies lie in `$PKDN_CACHE/stores`, by default `~/.cache/pkdn-lightning/stores`, one folder for each version of a
    store's manifest, so that a store which was made anew is fetched anew.

    Args:
        url: The store's folder.

    Raises:
        DataError: If there is no store, or it cannot be reached.
    """
    url = url.rstrip("/")
    try:
        files = fsspec.open(f"{url}/manifest.json", "rb").fs
        with fsspec.open(f"{url}/manifest.json", "rb") as opened:
            text: bytes = opened.read()
        manifest: dict[str, Any] = json.loads(text)
        hashes: dict[str, str] = manifest["sha256"]
    except FileNotFoundError as error:
        raise DataError(f"No store at {url}: there is no manifest.json.") from error
    except ImportError as error:
        raise DataError(f"{url} cannot be read: {error}. Install what is missing, or copy the store here.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{url} cannot be read: {error}.") from error
    folder = _cache() / f"{Path(url).name}-{hashes['hr.npy'][:12]}-{hashes['index.csv'][:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".fetching"):
        for name in hashes:
            _fetch(f"{url}/{name}", files, folder / name)
        (folder / "manifest.json").write_bytes(text)  # last: without it the folder is no store
    return folder


def _fetch(url: str, files: Any, place: Path) -> None:
    if place.is_file():
        return  # whole, because it was moved there; its hash is compared when the store is opened
    part = place.with_name(f"{place.name}.part")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        size = files.info(url)["size"]
        with files.open(url, "rb") as source, part.open("ab") as target, Progress(*columns) as bar:
            begin = target.tell() if size is not None and target.tell() <= size else 0
            target.truncate(begin)
            source.seek(begin)
            task = bar.add_task(f"fetching {place.name}", total=size, completed=begin)
            while block := source.read(_BLOCK):
                target.write(block)
                bar.advance(task, len(block))
        part.replace(place)
    except OSError as error:
        raise DataError(f"{url} could not be fetched: {error}. Run the same command again: it goes on.") from error


def _cache() -> Path:
    base = os.environ.get("PKDN_CACHE") or Path.home() / ".cache" / "pkdn-lightning"
    return Path(base) / "stores"
