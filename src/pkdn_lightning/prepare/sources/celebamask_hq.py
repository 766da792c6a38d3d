"""CelebAMask-HQ (Lee et al., CVPR 2020): 30,000 faces with ground-truth parsing maps.

    <path>/**/CelebA-HQ-img/0.jpg ... 29999.jpg                    1024x1024
    <path>/**/CelebAMask-HQ-mask-anno/0/00000_hair.png ...         512x512, one image per part and face
    <path>/**/CelebA-HQ-to-CelebA-mapping.txt                      which image of CelebA each one was
    <path>/**/list_eval_partition.txt, identity_CelebA.txt         of CelebA; optional

The masks are painted in the order of the labels, so that a later one covers an earlier one, as in the publisher's own
script. With CelebA's partition the splits are the official ones (24,183 / 2,993 / 2,824), otherwise seeded ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.store import Entry
from pkdn_lightning.faces.crop import Box, CropName, cut
from pkdn_lightning.faces.images import open_image
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare.raw_files import Delivery
from pkdn_lightning.prepare.sources.celeba import read_identities, read_partition, read_rows
from pkdn_lightning.prepare.sources.photographs import PhotographSource
from pkdn_lightning.prepare.splits import Photograph, by_split, split_by_identity

_FACES_PER_FOLDER: Final = 2000


class CelebAMaskHQSource(PhotographSource):
    """CelebAMask-HQ as its publisher ships it.

    Args:
        path: As for `PhotographSource`.
        crop: `whole` takes the faces as they were aligned.
        **options: As for `PhotographSource`.
    """

    with_parsing = True
    how_to_get: ClassVar = (
        "CelebAMask-HQ is offered at https://github.com/switchablenorms/CelebAMask-HQ (Google Drive or Baidu), by hand "
        "only: fetch CelebAMask-HQ.zip (2.7 GB) and give it or its unpacked folder: data.source.path=<it>.\n"
        "With CelebA's list_eval_partition.txt and identity_CelebA.txt beside it the splits are the official ones."
    )
    split_rule = (
        "the official partition of CelebA through the mapping, where list_eval_partition.txt is there; else seeded"
    )
    terms: ClassVar = {
        "licence": "CelebAMask-HQ: non-commercial research and educational purposes only",
        "terms": "no redistribution of the images or of derived data",
        "homepage": "https://github.com/switchablenorms/CelebAMask-HQ",
        "cite": "Lee, Liu, Wu, Luo: MaskGAN: Towards Diverse and Interactive Facial Image Manipulation, CVPR 2020",
    }

    def __init__(self, path: str | None, *, crop: CropName = "whole", **options: Any) -> None:
        super().__init__(path, crop=crop, **options)
        self._masks = ""

    def photographs(self, delivery: Delivery) -> list[Photograph]:
        """Returns the photographs with identities and the official partition, where they are known."""
        folder = delivery.need("The images", "CelebA-HQ-img", "CelebAMask-HQ/CelebA-HQ-img")
        self._masks = str(delivery.need("The masks", "CelebAMask-HQ-mask-anno"))
        mapping = delivery.find("CelebA-HQ-to-CelebA-mapping.txt")
        partition = delivery.find("list_eval_partition.txt")
        identity = delivery.find("identity_CelebA.txt")
        # The first line, the names of the columns, is no face's.
        rows = [] if mapping is None else read_rows(mapping, 3, "two numbers and a file name")
        originals = {number: original for number, _, original in rows}
        splits = {} if partition is None else read_partition(partition)
        identities = {} if identity is None else read_identities(identity)
        found = []
        for file in sorted(folder.glob("*.jpg"), key=lambda file: (len(file.stem), file.stem)):
            if not file.stem.isdecimal():
                continue  # clutter: every face has a number
            original = originals.get(file.stem, "")
            entry = Entry(file.stem, splits.get(original, ""), original or file.name, identities.get(original, ""))
            found.append(Photograph(entry, str(file)))
        return found

    def assign(self, photographs: Sequence[Photograph]) -> list[Photograph]:
        """Takes the official partition if it covers all photographs, else seeded splits; see `split_rule`."""
        unknown = sum(not photo.entry.split for photo in photographs)
        if unknown == 0:
            self.split_rule = "the official partition of CelebA, through the mapping"
            return by_split(photographs, self.counts, self.seed)
        self.split_rule = f"seeded: the official partition is not known for {unknown} of {len(photographs)} faces"
        counts = {"val": 2993, "test": 2824, **{split: n for split, n in self.counts.items() if n is not None}}
        return by_split(split_by_identity(photographs, counts, self.seed), self.counts, self.seed)

    def parsing(self, photo: Photograph, box: Box, width: int) -> NDArray[np.uint8] | None:
        """Returns the merged map of the square."""
        labels = merge_masks(Path(self._masks), int(photo.entry.name))
        return cut(Image.fromarray(labels), box.scaled(labels.shape[1] / width), self.size_px, Image.Resampling.NEAREST)


def merge_masks(folder: Path, number: int) -> NDArray[np.uint8]:
    """Returns the label ids of a face, merged from the images of its parts.

    Args:
        folder: `CelebAMask-HQ-mask-anno`.
        number: The face's number.

    Raises:
        Rejected: If a mask cannot be read, they differ in size, or there is none.
    """
    files = {part: folder / str(number // _FACES_PER_FOLDER) / f"{number:05d}_{part}.png" for part in LABELS[1:]}
    masks = {part: np.asarray(open_image(file).convert("L")) for part, file in files.items() if file.is_file()}
    if not masks:
        raise Rejected("no_map", f"{folder} has no masks of {number:05d}")
    if len(shapes := {mask.shape for mask in masks.values()}) > 1:
        raise Rejected("bad_map", f"the masks of {number:05d} in {folder} differ in size: {sorted(shapes)}")
    labels = np.zeros(shapes.pop(), dtype=np.uint8)
    for part, mask in masks.items():
        labels[mask > 127] = LABELS.index(part)
    return labels
