"""Tilted faces: their angle, the upright square that a network reads, and the way back into the photograph.

Angles are degrees by which a face is turned clockwise in its photograph.
"""

from math import ceil, cos, radians, sin
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.faces.crop import Box, cut
from pkdn_lightning.faces.detection import Detection

_UPRIGHT: Final = 5.0  # a smaller tilt is within the accuracy of the landmarks, and left as it is
_TILTED_AT_MOST: Final = 60.0
_NARROW: Final = 0.35  # distance of the eyes relative to that from eyes to mouth, below which a face is a profile
_SAMPLES_PX: Final = 128  # a square is turned at about this side at least, so that turning costs no detail


def tilt(points: NDArray[np.float32]) -> float:
    """Returns the angle of a face from five landmarks: the mean of the eyes' and of the line from eyes to mouth."""
    across = points[1] - points[0]
    down = points[3:].mean(axis=0) - points[:2].mean(axis=0)
    x, y = across / max(np.linalg.norm(across), 1e-6) + np.array((down[1], -down[0])) / max(np.linalg.norm(down), 1e-6)
    return float(np.degrees(np.arctan2(y, x)))


def snapped(angle: float) -> float:
    """Returns the angle, or the quarter turn that is nearest to it within the landmarks' accuracy."""
    quarter = 90.0 * round(angle / 90)
    return quarter if abs(angle - quarter) <= _UPRIGHT else angle


def why_not_frontal(points: NDArray[np.float32], turn: int) -> str:
    """Returns in words why a face is too far from upright and frontal to be restored; empty if it is not.

    Args:
        points: (5, 2) landmarks.
        turn: Angle of the photograph.
    """
    left, right, nose = points[:3]
    across, down = right - left, points[3:].mean(axis=0) - (left + right) / 2
    place = float((nose - left) @ across) / max(float(across @ across), 1e-6)  # 0 at the left eye, 1 at the right one
    if not 0 <= place <= 1 or np.linalg.norm(across) < _NARROW * np.linalg.norm(down):
        return "seen from the side"
    tilted = (tilt(points) - turn + 180) % 360 - 180
    return f"tilted by {abs(tilted):.0f} degrees" if abs(tilted) > _TILTED_AT_MOST else ""


def upright(image: Image.Image, box: Box, angle: float) -> Image.Image:
    """Returns the square of a face, turned upright; beyond the photograph its border is repeated.

    Args:
        image: The photograph, RGB.
        box: Centre and side of the square, which is turned around its centre.
        angle: Angle of the face.
    """
    if angle % 90 == 0:
        return Image.fromarray(np.rot90(cut(image, box, box.side, outside_at_most=1), round(angle / 90)))
    outer = _around(box, angle)
    wide = Image.fromarray(cut(image, outer, outer.side, outside_at_most=1))
    samples = ceil(_SAMPLES_PX / box.side)
    return _turned(wide, box.side * samples, -angle, samples)


def placed(face: Image.Image, mask: Image.Image, box: Box, angle: float) -> tuple[Image.Image, Image.Image, Box]:
    """Returns an upright face as it lies in its photograph, how much of it is seen, and the square that both fill.

    Args:
        face: Square, RGB.
        mask: Of `box.side` pixels, zero at its border.
        box: The face's square in the photograph, before it is turned around its centre.
        angle: Angle of the face.
    """
    if angle % 90 == 0:
        turned = Image.fromarray(np.rot90(np.asarray(face), -round(angle / 90)))
        return turned.resize((box.side, box.side), Image.Resampling.BICUBIC), mask, box
    outer = _around(box, angle)
    samples = ceil(max(face.width, _SAMPLES_PX) / box.side)
    size = (outer.side, outer.side)
    found = [
        _turned(each.resize((box.side * samples,) * 2, Image.Resampling.BICUBIC), outer.side * samples, angle, 1)
        .resize(size, Image.Resampling.BICUBIC)
        for each in (face, mask)
    ]  # fmt: skip
    return found[0], found[1], outer


def turned_back(found: Detection, size: tuple[int, int], turn: int) -> Detection:
    """Returns a face of a photograph that was turned counterclockwise by `turn`, as it lies in the original.

    Args:
        found: The face.
        size: Width and height of the turned photograph.
        turn: 0, 90, 180 or 270.
    """
    (left, top, wide, high), points, (width, height) = found.box, found.points, size
    for _ in range(turn // 90):
        left, top, wide, high = height - top - high, left, high, wide
        points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
        width, height = height, width
    return Detection((left, top, wide, high), points, found.confidence)


def _around(box: Box, angle: float) -> Box:
    """Returns the upright square, with the same centre, that holds a turned one."""
    wider = ceil(box.side * (abs(cos(radians(angle))) + abs(sin(radians(angle))) - 1) / 2) + 1
    return Box(box.left - wider, box.top - wider, box.side + 2 * wider)


def _turned(image: Image.Image, side: int, angle: float, enlarged: int) -> Image.Image:
    """Returns the middle of a square, `enlarged` times, turned clockwise; `side` is that of the result."""
    c, s, middle = cos(radians(angle)) / enlarged, sin(radians(angle)) / enlarged, side / 2
    x, y = image.width / 2 - middle * (c + s), image.height / 2 - middle * (c - s)
    return image.transform((side, side), Image.Transform.AFFINE, (c, s, x, -s, c, y), Image.Resampling.BICUBIC)
