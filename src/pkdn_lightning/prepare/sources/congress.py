"""Portraits of members of the US Congress, in the public domain (github.com/unitedstates/images).

    <path>/**/congress/original/A000001.jpg ...      folder, archive of the repository, or its URL

A file's name is the member's Bioguide id, so every portrait is of another person.
"""

from dataclasses import replace
from typing import Any, ClassVar

from pkdn_lightning.faces.crop import Faces
from pkdn_lightning.prepare.raw_files import Delivery
from pkdn_lightning.prepare.sources.photographs import PhotographSource, scan
from pkdn_lightning.prepare.splits import Photograph


class CongressSource(PhotographSource):
    """The portraits as the repository ships them.

    Args:
        path: As for `PhotographSource`.
        faces: With people in the background, the largest face is the member's.
        **options: As for `PhotographSource`.
    """

    how_to_get: ClassVar = (
        "The portraits can be fetched directly:\n"
        "  data.source.path=https://github.com/unitedstates/images/archive/refs/heads/gh-pages.zip"
    )
    terms: ClassVar = {
        "licence": "public domain (works of the US government)",
        "homepage": "https://github.com/unitedstates/images",
    }

    def __init__(self, path: str | None, *, faces: Faces = "largest", **options: Any) -> None:
        super().__init__(path, faces=faces, **options)

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns the portraits in their original size."""
        folder = delivery.need("The portraits", "congress/original", "original")
        return [replace(photo, entry=replace(photo.entry, identity=photo.entry.name)) for photo in scan(folder)]
