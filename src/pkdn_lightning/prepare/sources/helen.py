"""Helen (Le et al., ECCV 2012) under the paper's protocol of 1,955 / 50 / 50 faces.

    <path>/**/helen_1 ... helen_5/NAME.jpg       folders or their archives
    <path>/**/annotation/1.txt ... 2330.txt      194 landmarks each; a folder or its archive
    <path>/**/trainnames.txt, testnames.txt      the official lists of 2,000 and 330; optional

The rule: test takes 50 of the official test list and validation another 50 of it, training 1,955 of the official
training list, all in the seeded order. Without the lists all three come from all photographs.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.store import Entry
from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.crop import CropName
from pkdn_lightning.prepare.raw_files import Delivery
from pkdn_lightning.prepare.sources.celeba import read_rows
from pkdn_lightning.prepare.sources.photographs import PhotographSource, scan
from pkdn_lightning.prepare.splits import Photograph, by_split, seeded_order, with_split

_PARTS = 5


class HelenSource(PhotographSource):
    """Helen as its publisher ships it.

    Args:
        path: As for `PhotographSource`.
        crop: `dic` takes the square around the 194 landmarks.
        **options: As for `PhotographSource`.
    """

    how_to_get: ClassVar = (
        "Helen is offered at http://www.ifp.illinois.edu/~vuongle2/helen/ : fetch helen_1.zip to helen_5.zip, "
        "annotation.zip, trainnames.txt and testnames.txt into one folder and give it: data.source.path=<folder>."
    )
    split_rule = (
        "test and val: of the official test list, seeded; train: of the official training list, seeded; without the "
        "lists all of them from all photographs, seeded"
    )
    terms: ClassVar = {
        "licence": "Helen: non-commercial research purposes",
        "terms": "the photographs are from Flickr and belong to their owners",
        "homepage": "http://www.ifp.illinois.edu/~vuongle2/helen/",
        "cite": "Le, Brandt, Lin, Bourdev, Huang: Interactive Facial Feature Localization, ECCV 2012",
    }

    def __init__(self, path: str | None, *, crop: CropName = "dic", **options: Any) -> None:
        super().__init__(path, crop=crop, **options)

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns the photographs with landmarks, for `dic`, and the official lists, where they are there."""
        folders = [delivery.find(f"helen_{part}") for part in range(1, _PARTS + 1)]
        if not any(folders):
            folders = [delivery.need("The images", "helen_1")]
        points: dict[str, NDArray[np.float32]] = {}
        official: dict[str, str] = {}
        found = []
        if self.crop == "dic":
            points = read_annotation(delivery.need("The landmarks, which crop=dic needs,", "annotation"))
        for split in ("train", "test"):
            if (file := delivery.find(f"{split}names.txt")) is not None:
                official |= {name: split for (name,) in read_rows(file, 1, "a photograph's name")}
        for folder in folders:
            for photo in scan(folder) if folder is not None else ():
                entry = replace(photo.entry, split=official.get(photo.entry.name, ""))
                found.append(Photograph(entry, photo.file, points.get(photo.entry.name)))
        there = {photo.entry.name for photo in found}
        folder = next(folder for folder in folders if folder is not None)
        for name in sorted(official.keys() - there):  # to be rejected as missing, not ignored
            entry = Entry(name, official[name], f"{name}.jpg")
            found.append(Photograph(entry, str(folder / entry.source), points.get(name)))
        return found

    def assign(self, photographs: Sequence[Photograph]) -> list[Photograph]:
        """Applies the rule of this module's docstring."""
        listed = [photo for photo in photographs if photo.entry.split]
        if not listed:
            return super().assign(photographs)
        train, held = ([photo for photo in listed if photo.entry.split == split] for split in ("train", "test"))
        held = seeded_order(held, self.seed, lambda photo: photo.entry.name)
        half = (len(held) + 1) // 2  # for each of test and validation, so that both have a reserve
        val = [with_split(photo, "val") for photo in held[half:]]
        return by_split(train + val + held[:half], self.counts, self.seed)


def read_annotation(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Returns the landmarks of each photograph by its name.

    Raises:
        DataError: If a file does not hold a name and then lines of `x , y`.
    """
    points = {}
    for file in sorted(folder.rglob("*.txt")):
        if file.name.startswith("."):
            continue  # clutter
        try:
            name, *lines = file.read_text(encoding="utf-8").splitlines() or [""]
            rows = [line.split(",") for line in lines if line.strip()]
            points[name.strip()] = np.array(rows, dtype=np.float32).reshape(-1, 2)
        except ValueError as error:
            raise DataError(f"{file}: expected a photograph's name and then lines of 'x , y' ({error}).") from error
    return points
