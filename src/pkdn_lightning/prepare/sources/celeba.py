"""CelebA (Liu et al., ICCV 2015), in the wild or aligned, under the paper's protocol of 168,854 / 100 / 1,000 faces.

    <path>/**/img_celeba/000001.jpg ...              in the wild, or
    <path>/**/img_align_celeba/000001.jpg ...        aligned, 178x218; a folder or its .zip
    <path>/**/list_landmarks_celeba.txt              five points in the wild
    <path>/**/list_landmarks_align_celeba.txt        five points aligned
    <path>/**/list_bbox_celeba.txt                   the publisher's boxes, from which nothing is taken
    <path>/**/list_eval_partition.txt                0 train, 1 validation, 2 test; disjoint in identity
    <path>/**/identity_CelebA.txt                    the identities

DIC, which PKDN follows, published the sizes of its splits but not the lists. The rule here: test takes the last 1,000
photographs of the official test partition that become a face (201600..202599 and, where some are rejected, those
before); validation takes 100 of the official validation partition, each of another person, in the seeded order;
training takes 168,854, in the seeded order, of the official training partition and of those in the validation partition
who are not in the validation photographs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.store import Entry
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.crop import CropName
from pkdn_lightning.prepare.raw_files import Delivery
from pkdn_lightning.prepare.sources.photographs import PhotographSource
from pkdn_lightning.prepare.splits import Photograph, by_split, reserve, seeded_order, with_split

PARTITIONS: Final = {"0": "train", "1": "val", "2": "test"}


class CelebASource(PhotographSource):
    """CelebA as its publisher ships it.

    Args:
        path: As for `PhotographSource`.
        images: `in_the_wild` (img_celeba) or `aligned` (img_align_celeba).
        crop: None takes `dic` in the wild and `aligned` for aligned images.
        **options: As for `PhotographSource`.
    """

    fixed_box: ClassVar = (25, 45, 128)
    fixed_size: ClassVar = (178, 218)
    how_to_get: ClassVar = (
        "CelebA is offered at https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Google Drive or Baidu), by "
        "hand only: fetch the folders Anno and Eval, and Img/img_celeba.7z (unpack it with 7-Zip: 7z x "
        "img_celeba.7z.001) or Img/img_align_celeba.zip (MD5 00d2c5bc6d35e252742224ab0c1e8fcb), put all into one "
        "folder, and give it: data.source.path=<folder>."
    )
    split_rule = (
        "test: last faces of the official test partition; val: of the official validation partition, one per identity, "
        "seeded; train: official training partition and the rest of validation without the identities in val, seeded"
    )
    terms: ClassVar = {
        "licence": "CelebA: non-commercial research purposes only",
        "terms": "no redistribution of the images or of derived data; the rights belong to the photographs' owners",
        "homepage": "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "cite": "Liu, Luo, Wang, Tang: Deep Learning Face Attributes in the Wild, ICCV 2015",
    }

    def __init__(
        self,
        path: str | None,
        *,
        images: Literal["in_the_wild", "aligned"] = "in_the_wild",
        crop: CropName | None = None,
        **options: Any,
    ) -> None:
        if images == "in_the_wild" and crop == "aligned":
            raise ConfigError("data.source.crop=aligned is for aligned images: add data.source.images=aligned.")
        super().__init__(path, crop=crop or ("dic" if images == "in_the_wild" else "aligned"), **options)
        self.images = images

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns the photographs with the official partition, identities and, for `dic`, the five points."""
        aligned = self.images == "aligned"
        folder = delivery.need("The images", "img_align_celeba" if aligned else "img_celeba")
        partition = read_partition(delivery.need("The official partition", "list_eval_partition.txt"))
        identities = read_identities(delivery.need("The identities", "identity_CelebA.txt"))
        points = {}
        if self.crop == "dic":
            name = "list_landmarks_align_celeba.txt" if aligned else "list_landmarks_celeba.txt"
            points = read_points(delivery.need("The landmarks, which crop=dic needs,", name))
        found = []
        for name in sorted(partition):
            entry = Entry(Path(name).stem, partition[name], name, identities.get(name, ""))
            found.append(Photograph(entry, str(folder / name), points.get(name)))
        return found

    def assign(self, photographs: Sequence[Photograph]) -> list[Photograph]:
        """Applies the rule of this module's docstring."""
        official = {split: [p for p in photographs if p.entry.split == split] for split in PARTITIONS.values()}
        test, val = official["test"][::-1], official["val"]
        if self.counts["test"] is not None:
            test = test[: reserve(self.counts["test"])]
        if self.counts["val"] is not None:
            seeded = seeded_order(val, self.seed, lambda photo: photo.entry.name)
            one_each = {_person(photo): photo for photo in reversed(seeded)}  # the first of each person
            val = [photo for photo in seeded if one_each[_person(photo)] is photo][: reserve(self.counts["val"])]
        people = {_person(photo) for photo in val}
        rest = [photo for photo in official["val"] if _person(photo) not in people]
        train = [with_split(photo, "train") for photo in official["train"] + rest]
        # Test keeps its own order, from the last backwards; the others are in the seeded order already or become so.
        return by_split(train, self.counts, self.seed) + val + test


def _person(photo: Photograph) -> str:
    return photo.entry.identity or photo.entry.name


def read_identities(file: Path) -> dict[str, str]:
    """Returns the identity of each image, from `identity_CelebA.txt`; see `read_rows` for errors."""
    return {name: identity for name, identity in read_rows(file, 2, "a file name and a number")}


def read_partition(file: Path) -> dict[str, str]:
    """Returns the split of each image, from `list_eval_partition.txt`; see `read_rows` for errors."""
    partition = {}
    for name, number in read_rows(file, 2, "a file name and a number"):
        if number not in PARTITIONS:
            raise DataError(f"{file} puts {name} into {number!r}; expected 0, 1 or 2.")
        partition[name] = PARTITIONS[number]
    return partition


def read_points(file: Path) -> dict[str, NDArray[np.float32]]:
    """Returns the five points of each image, (5, 2): both eyes from left to right, nose, both corners of the mouth.

    See `read_rows` for errors.
    """
    points = {}
    for name, *numbers in read_rows(file, 11, "a file name and ten numbers", header=2):
        try:
            points[name] = np.array(numbers, dtype=np.float32).reshape(5, 2)
        except ValueError as error:
            raise DataError(f"{file}: expected ten numbers for {name}, found {' '.join(numbers)!r}.") from error
    return points


def read_rows(file: Path, columns: int, expected: str, *, header: int = 0) -> Iterator[list[str]]:
    """Yields the words of each line of a list that is not blank.

    Args:
        file: The list.
        columns: Words that each line has to have, except for the first `header` lines.
        expected: What they are, for the message.
        header: Lines in front that may be something else, and are left out then.

    Raises:
        DataError: If the file is not text, or a line has another number of words.
    """
    with file.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, 1):
                words = line.split()
                if len(words) == columns:
                    yield words
                elif words and number > header:
                    raise DataError(f"{file}, line {number}: expected {expected}, found {' '.join(words)!r}.")
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not a text file ({error}). Get it from its publisher again.") from error
