"""Which square of a photograph becomes the face.

    dic        a square around the landmarks, as DIC and with it PKDN, KDFSRNet and SFMNet describe it
    aligned    a fixed box, for images that their publisher aligned
    detector   a square around the box of a face detector
    whole      the image as it is, its longer side cut to a square

A margin is a share of the square's side that is added on each of its sides.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.faces.detection import Detection, check_detector, detect_faces
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.values import Range, check

Margin = Annotated[float, Range(-0.5, above=True)]  # at -0.5 nothing of the square is left
CropName = Literal["dic", "aligned", "detector", "whole"]
Faces = Literal["one", "largest"]

_OUTSIDE_AT_MOST: Final = 0.25  # share of the square that may lie outside the image; its border is repeated there
_POINTS_OUTSIDE_AT_MOST: Final = 0.1
_SECOND_FACE: Final = 0.5  # a second face with a side of this share of the first one's makes an image ambiguous

# The box of 68 landmarks relative to five, in units of the distance from the eyes to the mouth: medians over 1,585
# faces of CelebA, CelebAMask-HQ, Helen and LFW, found with MTCNN and dlib. The standard deviation of the side is 0.2.
_FIVE_TO_68_SIDE: Final = 2.17
_FIVE_TO_68_DOWN: Final = 0.66


class Box(NamedTuple):
    """A square of an image, in whole pixels; parts of it may lie outside."""

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, x: float, y: float, side: float) -> "Box":
        """Returns the square of whole pixels nearest to the one with centre x, y."""
        whole = max(1, round(side))
        return cls(round(x - whole / 2), round(y - whole / 2), whole)

    def scaled(self, factor: float) -> "Box":
        """Returns the same square in an image `factor` times as large."""
        return Box(round(self.left * factor), round(self.top * factor), max(1, round(self.side * factor)))


class Crop(Protocol):
    """A rule that finds the square; `str()` describes it for the manifest."""

    def box(self, image: Image.Image, points: NDArray[np.float32] | None) -> Box:
        """Returns the square of an RGB image; `points` (n, 2) are its landmarks where they are known.

        Raises:
            Rejected: If there is none.
        """


class LandmarkCrop:
    """`dic`: the square around the landmarks; of five landmarks, the square that 68 would span.

    DIC published neither code nor margin. The default frames faces like FSRNet's published CelebA test crops (its Helen
    crops are tighter: 0.14).
    """

    def __init__(self, margin: float = 0.31) -> None:
        self.margin = margin

    def box(self, image: Image.Image, points: NDArray[np.float32] | None) -> Box:
        """Returns the square around the landmarks."""
        if points is None or len(points) < 5:
            raise Rejected("no_landmarks", "crop=dic needs landmarks, and this image has none")
        inside = ((points >= 0) & (points < np.array(image.size))).all(axis=1)
        if 1 - inside.mean() > _POINTS_OUTSIDE_AT_MOST:
            raise Rejected("landmarks_outside", f"{(~inside).sum()} of {len(points)} landmarks lie outside the image")
        if len(points) == 5:
            eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
            x, y = eyes + (mouth - eyes) * _FIVE_TO_68_DOWN
            side = float(np.linalg.norm(mouth - eyes)) * _FIVE_TO_68_SIDE
        else:
            low, high = points.min(axis=0), points.max(axis=0)
            (x, y), side = (low + high) / 2, float((high - low).max())
        if not side >= 1:  # true for NaN, too
            raise Rejected("bad_landmarks", f"the landmarks span {side:g} px of the image")
        return Box.around(float(x), float(y), side * (1 + 2 * self.margin))

    def __str__(self) -> str:
        return f"dic: square around the landmarks, margin {self.margin:g} of its side"


class FixedCrop:
    """`aligned`: the same box in every image.

    Args:
        box: left, top, side in pixels of the image as published.
        margin: Share of the side added on each side.
        size: Width and height that an image has to have, or None.
    """

    def __init__(self, box: Sequence[int], margin: float = 0.0, *, size: Sequence[int] | None = None) -> None:
        self.left, self.top, self.side = box
        self.margin, self.size = margin, None if size is None else tuple(size)

    def box(self, image: Image.Image, points: NDArray[np.float32] | None) -> Box:
        """Returns the box."""
        if self.size is not None and image.size != self.size:
            found, expected = (f"{width}x{height}" for width, height in (image.size, self.size))
            raise Rejected("wrong_size", f"it is {found}; crop=aligned is for the aligned images of {expected}")
        side = self.side * (1 + 2 * self.margin)
        return Box.around(self.left + self.side / 2, self.top + self.side / 2, side)

    def __str__(self) -> str:
        return f"aligned: box {self.left}, {self.top}, side {self.side}, margin {self.margin:g} of its side"


class DetectorCrop:
    """`detector`: the square around the detector's box.

    Args:
        margin: Share of the longer side of the detector's box added on each side.
        faces: `one` refuses an image with a second face of comparable size; `largest` takes the largest.
    """

    def __init__(self, margin: float = 0.25, faces: Faces = "one") -> None:
        check_detector()
        self.margin, self.faces = margin, faces

    def box(self, image: Image.Image, points: NDArray[np.float32] | None) -> Box:
        """Returns the square around the face."""
        found = detect_faces(image)
        if not found:
            raise Rejected("no_face", "the detector found no face")
        sides = [max(face.box[2:]) for face in found]
        if self.faces == "one" and len(found) > 1 and sides[1] > _SECOND_FACE * sides[0]:
            shown = ", ".join(f"{side:.0f}" for side in sides[:4])
            hint = "data.source.faces=largest takes the largest"
            raise Rejected("several_faces", f"the detector found {len(found)}, with sides of {shown} px; {hint}")
        return self.around(found[0])

    def around(self, face: Detection) -> Box:
        """Returns the square around a face that was found."""
        left, top, width, height = face.box
        return Box.around(left + width / 2, top + height / 2, max(width, height) * (1 + 2 * self.margin))

    def __str__(self) -> str:
        return f"detector: square around MTCNN's box, margin {self.margin:g} of its longer side, faces: {self.faces}"


class WholeCrop:
    """`whole`: the image as it is; of one that is not square, the middle."""

    def box(self, image: Image.Image, points: NDArray[np.float32] | None) -> Box:
        """Returns the largest square in the middle."""
        return Box.around(image.width / 2, image.height / 2, min(image.size))

    def __str__(self) -> str:
        return "whole: the image as it is, the middle square of it"


def crop_rule(
    name: CropName,
    margin: float | None,
    *,
    faces: Faces = "one",
    fixed: Sequence[int] | None = None,
    fixed_size: Sequence[int] | None = None,
) -> Crop:
    """Returns the rule called `name`; a margin of None is the rule's own.

    Raises:
        ConfigError: If there is no such rule, no fixed box, no square with that margin, or an extra is missing.
    """
    check("data.source.crop", name, CropName)
    check("data.source.margin", margin, Margin | None)
    given = {} if margin is None else {"margin": margin}
    if name == "dic":
        return LandmarkCrop(**given)
    if name == "detector":
        return DetectorCrop(**given, faces=faces)
    if name == "whole":
        return WholeCrop()
    if fixed is None:
        raise ConfigError("data.source.crop=aligned needs images that their publisher aligned; this source has none.")
    return FixedCrop(fixed, **given, size=fixed_size)


def cut(
    image: Image.Image,
    box: Box,
    size_px: int,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    *,
    outside_at_most: float = _OUTSIDE_AT_MOST,
) -> NDArray[np.uint8]:
    """Returns the square, resized to `size_px`; where it leaves the image, the image's border is repeated.

    Args:
        image: RGB, or labels when `resample` is NEAREST.
        box: The square.
        size_px: Side of the result.
        resample: Pillow's filter, antialiased.
        outside_at_most: Share of the square that may lie outside the image.

    Raises:
        Rejected: If too much of the square lies outside.
    """
    width, height = image.size
    right, bottom = box.left + box.side, box.top + box.side
    seen = max(0, min(right, width) - max(box.left, 0)) * max(0, min(bottom, height) - max(box.top, 0))
    outside = 1 - seen / box.side**2
    if outside > outside_at_most:
        raise Rejected("outside", f"{outside:.0%} of the face's square lies outside the image")
    square = image.crop((box.left, box.top, right, bottom))
    if outside > 0:
        rows, columns = np.arange(box.top, bottom).clip(0, height - 1), np.arange(box.left, right).clip(0, width - 1)
        inside = image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        square = Image.fromarray(np.asarray(inside)[rows[:, None] - rows[0], columns - columns[0]])
    return np.asarray(square.resize((size_px, size_px), resample), dtype=np.uint8)
