"""What a publisher delivered: a folder, an archive or a URL, in which files are found by name at any depth."""

import os
import tarfile
import zipfile
from itertools import islice
from pathlib import Path
from typing import Final

from pkdn_lightning.data.remote import fetch, is_remote
from pkdn_lightning.errors import ConfigError, DataError, PKDNError
from pkdn_lightning.prepare.archives import is_archive, unpack

_DEPTH: Final = 4  # publishers nest folders this deep at most
_MANY: Final = 500
_UNFINISHED: Final = (".unpacked.partial", ".unpacked.old")  # what a killed process left; `archives` removes it


class Pending(PKDNError):  # noqa: N818  # nothing went wrong
    """A download or an archive that has to be there first; the message names it."""


class Delivery:
    """Finds files and folders by name, and unpacks archives that contain them on demand.

    Args:
        path: Folder, archive or URL of an archive. Single files are also found beside an archive.
        sha256: What a downloaded file has to have.
        how_to_get: What to say when something is missing: where the publisher offers it.
        dry: Changes nothing on disk; raises `Pending` where something would have to be downloaded or unpacked.
    """

    def __init__(self, path: str | None, *, sha256: str | None = None, how_to_get: str, dry: bool = False) -> None:
        self.how_to_get, self.dry = how_to_get, dry
        if path is None:
            raise ConfigError(f"data.source.path is not set: say where the publisher's files are.\n{how_to_get}")
        if is_remote(path):
            if dry:
                raise Pending(f"download {path} and unpack it")
            place = fetch(path, sha256=sha256)
        else:
            place = Path(path).expanduser()
        if not place.exists():
            raise DataError(f"There is nothing at {place} (data.source.path).\n{how_to_get}")
        self.beside = None if place.is_dir() or is_remote(path) else place.parent
        self.root = place if place.is_dir() else self._unpacked(place)

    def find(self, *names: str) -> Path | None:
        """Returns the file or folder that has one of these names, or None; an archive is unpacked to find it.

        Args:
            *names: A name, or a path's last parts such as `congress/original`; earlier ones are preferred. The archive
                that holds it is called like its first part: `<name>.zip`, `.tar.gz` and so on.
        """
        for name in names:
            for place in self._places():
                if (place / name).exists():
                    return place / name
            if self.beside is not None and (self.beside / name).is_file():
                return self.beside / name
        for name in names:
            for place in self._places():
                files = sorted(file for file in place.glob(f"{name.split('/')[0]}.*") if file.is_file())
                for archive in filter(is_archive, files):
                    folder = self._unpacked(archive)
                    for inner in (folder / name, folder / name.partition("/")[2]):  # the archive's top may be `name`
                        if inner.is_dir():
                            return inner
        return None

    def need(self, what: str, *names: str) -> Path:
        """Returns the file or folder that has one of these names.

        Raises:
            DataError: If there is none; the message names what was found and where the publisher offers it.
        """
        found = self.find(*names)
        if found is None:
            there = sorted(child.name for child in self.root.iterdir())[:8]
            raise DataError(
                f"{what} ({' or '.join(names)}) is not below {self.root}; found there: "
                f"{', '.join(there) or 'nothing'}.\n{self.how_to_get}"
            )
        return found

    def _places(self) -> list[Path]:
        """Returns the folders in which names are looked for, outer ones first."""
        places, level = [self.root], [self.root]
        for _ in range(_DEPTH - 1):
            level = [child for place in level for child in _folders(place)]
            places += level
        return places

    def _unpacked(self, archive: Path) -> Path:
        if not (is_archive(archive) or zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
            raise DataError(f"{archive} is neither a folder nor an archive that can be unpacked.\n{self.how_to_get}")
        if self.dry:
            raise Pending(f"unpack {archive} ({archive.stat().st_size / 1e9:.2f} GB)")
        return unpack(archive)


def _folders(place: Path) -> list[Path]:
    """Returns the folders in a folder, or none where there is so much that it is the data itself."""
    with os.scandir(place) as found:
        children = list(islice(found, _MANY + 1))
    names = [child.name for child in children if child.is_dir() and not child.name.endswith(_UNFINISHED)]
    return [] if len(children) > _MANY else [place / name for name in sorted(names) if not name.startswith(".")]
