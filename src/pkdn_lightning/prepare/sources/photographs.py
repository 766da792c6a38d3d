"""Photographs with faces in them: what all such sources share, and any folder of them as a source of its own.

<path>/**/NAME.jpg      in folders of any depth; the archive of such a folder; or its URL
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.console import console
from pkdn_lightning.data.store import Entry
from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.crop import Box, CropName, Faces, crop_rule, cut
from pkdn_lightning.faces.folders import find_images
from pkdn_lightning.faces.images import open_photograph
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare.raw_files import Delivery
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.prepare.sources.folder import FolderSource, is_folder_of_faces
from pkdn_lightning.prepare.splits import Photograph, by_split, shared_identities, split_by_identity, split_by_list
from pkdn_lightning.values import Natural, Number, Seed, Side


class PhotographSource:
    """Crops faces out of photographs. A subclass per data set finds its files, identities and splits.

    Args:
        path: What the publisher delivered: a folder, an archive, or the archive's URL. Faces that are ready
            (`<split>/images/NAME.png`, see `FolderSource`) are taken as they are.
        sha256: Expected digest of a download; `md5:<digest>` where the publisher gives only that.
        size_px: Side of the faces (HR).
        crop: `dic`, `aligned`, `detector` or `whole`; see `faces.crop`.
        margin: Share of the square's side added on each side; None is the rule's own.
        faces: What `detector` does with several faces: `one` refuses the photograph, `largest` takes the largest.
        min_side_px: Faces whose square is smaller in the photograph are rejected: they would be enlarged.
        train: Faces wanted for training; None takes all.
        val: Faces wanted for validation; None takes all that the rule gives it.
        test: Faces wanted for test; likewise.
        seed: Seed of the splits.
        splits: A list of your own instead of the rule: CSV with the columns `name` and `split`.
    """

    with_parsing = False
    with_landmarks = False
    fixed_box: ClassVar[tuple[int, int, int] | None] = None
    fixed_size: ClassVar[tuple[int, int] | None] = None
    how_to_get: ClassVar[str] = "Expected there: photographs, in folders as deep as you like."
    split_rule: str = "no identity (or file, where it is unknown) in two splits, in a seeded order"
    terms: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        path: str | None,
        *,
        sha256: str | None = None,
        size_px: Side = 128,
        crop: CropName = "detector",
        margin: Number | None = None,
        faces: Faces = "one",
        min_side_px: Natural = 0,
        train: Natural | None = None,
        val: Natural | None = None,
        test: Natural | None = None,
        seed: Seed = 0,
        splits: str | None = None,
    ) -> None:
        self.path, self.sha256, self.size_px, self.min_side_px = path, sha256, size_px, min_side_px
        self.counts = {"train": train, "val": val, "test": test}
        self.seed, self.splits = seed, splits
        self.ready = FolderSource(path, size_px=size_px) if path and is_folder_of_faces(path) else None
        if self.ready is not None:
            self.with_parsing = self.ready.with_parsing
            return
        self.crop = crop
        self.rule = crop_rule(crop, margin, faces=faces, fixed=self.fixed_box, fixed_size=self.fixed_size)

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns the photographs in the publisher's order; `entry.split` is the publisher's, or empty.

        Raises:
            DataError: If files are missing; the message names them and where the publisher offers them.
        """
        raise NotImplementedError

    def assign(self, photographs: Sequence[Photograph]) -> list[Photograph]:
        """Returns the photographs with their splits; `split_rule` describes the rule."""
        return by_split(split_by_identity(photographs, self.counts, self.seed), self.counts, self.seed)

    def candidates(self, *, dry: bool = False) -> Sequence[Any]:
        """Returns the photographs of all splits, in order; more than are wanted, where some may be rejected."""
        if self.ready is not None:
            return self.ready.candidates()
        delivery = Delivery(self.path, sha256=self.sha256, how_to_get=self.how_to_get, dry=dry)
        photographs = self.photographs(delivery)
        if not photographs:
            raise DataError(f"No photographs below {delivery.root}.\n{self.how_to_get}")
        if self.splits is None:
            return self.assign(photographs)
        chosen = split_by_list(photographs, Path(self.splits))
        if shared := shared_identities(chosen):
            raise DataError(
                f"{self.splits} puts photographs of the same person into several splits: {', '.join(shared[:5])}.\n"
                "A model would be tested on people it was trained on. Keep all images of a person in one split."
            )
        return chosen

    def quotas(self) -> dict[str, int]:
        """Returns how many faces the splits take; a list of one's own is taken whole."""
        if self.ready is not None or self.splits is not None:
            return {}
        return {split: count for split, count in self.counts.items() if count is not None}

    def read(self, candidate: Any) -> Face:
        """Returns the face of a photograph."""
        if self.ready is not None:
            return self.ready.read(candidate)
        photo: Photograph = candidate
        # Landmarks were measured on the pixels as they are stored, so a turned image would not fit them.
        image = open_photograph(Path(photo.file), upright=photo.points is None)
        box = self.rule.box(image, photo.points)
        if box.side < self.min_side_px:
            why = f"the face's square has a side of {box.side} px; data.source.min_side_px={self.min_side_px}"
            raise Rejected("too_small", why)
        return Face(cut(image, box, self.size_px), self.parsing(photo, box, image.width))

    def parsing(self, photo: Photograph, box: Box, width: int) -> NDArray[np.uint8] | None:
        """Returns the parsing map of the square, where the publisher has one; `width` is the photograph's."""
        return None

    def provenance(self) -> dict[str, Any]:
        """Returns how the data was made."""
        if self.ready is not None:
            return {**self.ready.provenance(), **self.terms}
        return {
            "source": type(self).__name__.removesuffix("Source"),
            "crop_rule": str(self.rule),
            "resized_with": "Pillow bicubic, antialiased",
            "min_side_px": self.min_side_px,
            "split_rule": self.split_rule if self.splits is None else f"the list {Path(self.splits).name}",
            "split_seed": self.seed,
            "faces_wanted": "as the list says"
            if self.splits
            else {split: "all" if count is None else count for split, count in self.counts.items()},
            "parser": "the publisher's masks" if self.with_parsing else None,
            **self.terms,
        }


def scan(folder: Path, identity: Callable[[Path], str] = lambda file: "") -> list[Photograph]:
    """Returns every image below a folder; its name is its path in there without the suffix.

    Args:
        folder: Where to look.
        identity: Returns the identity of a file.
    """
    found = find_images(folder)
    if note := found.note():
        console.print(f"{folder}: {note}")
    files = found.images
    names = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    several = {name for name, count in Counter(names).items() if count > 1}  # a.jpg beside a.png
    sources = [file.relative_to(folder).as_posix() for file in files]
    return [
        Photograph(Entry(source if name in several else name, "", source, identity(file)), str(file))
        for file, name, source in zip(files, names, sources, strict=True)
    ]


class PhotosSource(PhotographSource):
    """Any folder of photographs.

    Args:
        identities: `folder` takes the name of a photograph's folder as its identity, and splits are disjoint in
            identity; `none` treats every file as another person.
        **options: As for `PhotographSource`.
    """

    def __init__(self, path: str | None, *, identities: Literal["none", "folder"] = "none", **options: Any) -> None:
        super().__init__(path, **options)
        self.identities = identities

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns every image below the folder."""
        return scan(delivery.root, identity=lambda file: file.parent.name if self.identities == "folder" else "")
