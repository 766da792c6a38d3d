"""Tilted faces are turned upright and back; nothing outside their square changes."""

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.faces.crop import Box
from pkdn_lightning.predict.alignment import snapped, tilt, turned_back, upright, why_not_frontal
from pkdn_lightning.predict.paste import Placed, paste

from .conftest import face, found


def around(points: np.ndarray, middle: tuple[float, float], angle: float) -> np.ndarray:
    """Returns points turned clockwise around a middle."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return ((points - middle) @ np.array([[c, s], [-s, c]]) + middle).astype(np.float32)


@pytest.mark.parametrize("angle", [-130, -40, -6, 0, 3, 30, 90, 175])
def test_the_tilt_is_measured(angle):
    assert tilt(around(found(0, 0, 50).points, (20, 30), angle)) == pytest.approx(angle, abs=0.1)


def test_a_small_tilt_is_none():
    assert [snapped(angle) for angle in (4, -5, 6, 87, -178, 84)] == [0, 0, 6, 90, -180, 84]


@pytest.mark.parametrize(
    ("change", "turn", "said"),
    [
        (lambda points: points, 0, ""),
        (lambda points: around(points, (25, 25), 40), 0, ""),
        (lambda points: around(points, (25, 25), 70), 0, "tilted by 70 degrees"),
        (lambda points: around(points, (25, 25), 70), 90, ""),
        (lambda points: around(points, (25, 25), 185), 180, ""),
        (lambda points: points + np.float32([[0, 0], [0, 0], [12, 0], [0, 0], [0, 0]]), 0, "seen from the side"),
        (lambda points: points * np.float32([0.35, 1]), 0, "seen from the side"),
    ],
)
def test_which_faces_are_frontal(change, turn, said):
    assert why_not_frontal(change(found(0, 0, 50).points), turn) == said


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_face_found_in_a_turned_photograph_lies_where_it_was(turn):
    image = np.zeros((40, 60), dtype=np.uint8)
    image[10:14, 20:26] = 1
    turned = np.rot90(image, turn // 90)
    rows, columns = np.nonzero(turned)
    box = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    detection = found(0, 0, 10)._replace(box=box)
    assert turned_back(detection, turned.shape[::-1], turn).box == (20, 10, 6, 4)


@pytest.mark.parametrize("angle", [-30, 25, 90, 180])
def test_there_and_back_is_the_same_face(angle):
    image = face(2).resize((400, 400), Image.Resampling.BICUBIC)
    box = Box(130, 120, 100)
    back = paste(image, [Placed(box, np.asarray(upright(image, box, angle)), angle)], 1)
    difference = np.abs(np.asarray(back).astype(int) - np.asarray(image))
    assert difference.mean() < 0.1
    assert difference.max() <= (0 if angle % 90 == 0 else 12)


@pytest.mark.parametrize("angle", [0, 20, 90, -50])
@pytest.mark.parametrize("upscale", [1, 2])
def test_outside_the_turned_square_nothing_changes(angle, upscale):
    image, box = face(2, 120), Box(35, 40, 44)
    pasted = paste(image, [Placed(box, np.full((128, 128, 3), 255, np.uint8), angle)], upscale)
    before = image.resize(pasted.size, Image.Resampling.BICUBIC) if upscale > 1 else image
    changed = (np.asarray(pasted) != np.asarray(before)).any(axis=2)
    rows, columns = np.nonzero(changed)
    places = around(np.stack([columns, rows], axis=1) + 0.5, (57 * upscale, 62 * upscale), -angle)
    assert changed.sum() > 0.6 * (44 * upscale) ** 2
    assert np.abs(places - np.array([57, 62]) * upscale).max() <= 22 * upscale + 1
