"""The included portraits as a source: public-domain faces that come with the package and need no download."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

from pkdn_lightning.data.portraits import SIZE_PX, names, portrait
from pkdn_lightning.data.store import Entry
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.values import Range


class PortraitsSource:
    """1,016 official portraits of members of the US Congress, with parsing maps and 68 landmarks.

    Args:
        train: Faces of the training split, the first ones; None takes all 856.
        val: Faces of the validation split; None takes all 60.
        test: Faces of the test split; None takes all 100.
        size_px: Side of the faces; below 128 they are reduced.
    """

    included = True
    with_parsing = True
    with_landmarks = True
    terms: ClassVar[Mapping[str, str]] = {
        "licence": "public domain: works of the US government",
        "terms": "official portraits, collected by the project unitedstates/images and taken as public domain, as it "
        "states; to have a picture taken out, open an issue with its name (its Bioguide id)",
        "homepage": "https://github.com/unitedstates/images",
    }

    def __init__(
        self,
        *,
        train: Annotated[int, Range(1, 856)] | None = None,
        val: Annotated[int, Range(0, 60)] | None = None,
        test: Annotated[int, Range(0, 100)] | None = None,
        size_px: Annotated[int, Range(8, SIZE_PX)] = SIZE_PX,
    ) -> None:
        self.counts = {"train": train, "val": val, "test": test}
        self.size_px = size_px

    def candidates(self, *, dry: bool = False) -> list["Candidate"]:
        """Returns the portraits of each split, in order.

        Raises:
            DataError: If the packed file is missing or damaged.
        """
        return [
            Candidate(Entry(name, split, f"Bioguide {name}", name))
            for split, count in self.counts.items()
            for name in names(split)[:count]
        ]

    def quotas(self) -> dict[str, int]:
        """Returns nothing: `candidates` has counted already."""
        return {}

    def read(self, candidate: "Candidate") -> Face:
        """Returns one face, reduced to `size_px`.

        Raises:
            DataError: If the packed file is damaged.
        """
        face = portrait(candidate.entry.split, candidate.entry.name, self.size_px)
        return Face(face.hr, face.parsing, face.landmarks)

    def provenance(self) -> dict[str, Any]:
        """Returns how the data was made."""
        return {
            "source": "portraits",
            "options": {**self.counts, "size_px": self.size_px},
            "origin": "unitedstates/images, in part by its thumbnails in Hainish/congress-images-225x275 @ 20531e9",
            "crop_rule": "detector: MTCNN's box, 1.5 times its side",
            "parser": "BiSeNet (zllrunning/face-parsing.PyTorch, 79999_iter.pth, SHA-256 468e13ca13a9b43c), trained on "
            "CelebAMask-HQ; eyes' sides repaired by position; a few maps are wrong",
            "landmarks": "dlib, shape_predictor_68_face_landmarks, trained on 300-W",
            "split_rule": "no identity in two splits; near-duplicates removed",
            "limits": "posed, frontal, well lit and smiling adults, mostly white men over fifty in suits",
            **self.terms,
        }


class Candidate(NamedTuple):
    """One of the portraits, by its row in the store's index."""

    entry: Entry
