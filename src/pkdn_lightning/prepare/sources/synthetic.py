"""The built-in drawn faces: no download, exact parsing maps and landmarks."""

from typing import Any, NamedTuple

from pkdn_lightning.data.store import Entry
from pkdn_lightning.data.synthetic import draw_face
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.values import Natural, Seed, Side


class SyntheticSource:
    """Draws faces; every face has a number of its own, so the splits share none.

    Args:
        train: Faces in the training split.
        val: Faces in the validation split.
        test: Faces in the test split.
        size_px: Side of the faces.
        seed: Another seed gives other faces.
    """

    included = True
    with_parsing = True
    with_landmarks = True

    def __init__(
        self, *, train: Natural = 1000, val: Natural = 50, test: Natural = 100, size_px: Side = 128, seed: Seed = 0
    ) -> None:
        self.counts = {"train": train, "val": val, "test": test}
        self.size_px, self.seed = size_px, seed

    def candidates(self, *, dry: bool = False) -> list["DrawnFace"]:
        """Returns the numbers of the faces."""
        splits = (split for split, count in self.counts.items() for _ in range(count))
        return [DrawnFace(Entry(f"{n:06d}", split, f"drawn with seed {self.seed}")) for n, split in enumerate(splits)]

    def quotas(self) -> dict[str, int]:
        """Returns nothing: all faces are taken."""
        return {}

    def read(self, candidate: "DrawnFace") -> Face:
        """Draws a face."""
        return Face(*draw_face(int(candidate.entry.name), seed=self.seed, size_px=self.size_px))

    def provenance(self) -> dict[str, Any]:
        """Returns how the data was made."""
        return {
            "source": "synthetic",
            "options": {**self.counts, "size_px": self.size_px, "seed": self.seed},
            "crop_rule": "drawn",
            "parser": "drawn",
            "licence": "CC0-1.0",
        }


class DrawnFace(NamedTuple):
    """A face that will be drawn; its name is its number."""

    entry: Entry
