"""Faces go back without a seam, and without touching anything else."""

import numpy as np
from PIL import Image

from pkdn_lightning.faces.crop import Box
from pkdn_lightning.predict.back_projection import fit_enlarged
from pkdn_lightning.predict.paste import Placed, paste, soft_mask

from .conftest import face


def white(side: int) -> np.ndarray:
    return np.full((side, side, 3), 255, dtype=np.uint8)


def test_outside_the_square_nothing_changes():
    image = face()
    pasted = np.asarray(paste(image, [Placed(Box(40, 30, 50), white(64))], 1))
    changed = (pasted != np.asarray(image)).any(axis=2)
    assert changed[55, 65]
    changed[30:80, 40:90] = False
    assert not changed.any()


def test_the_middle_is_the_face_and_the_border_has_no_step():
    image = Image.new("RGB", (200, 200), "black")
    row = np.asarray(paste(image, [Placed(Box(50, 50, 100), white(128))], 1))[100, :, 0].astype(int)
    assert row[100] == 255
    assert np.abs(np.diff(row)).max() < 30
    assert soft_mask(1).size == (1, 1)
    assert np.asarray(soft_mask(9))[4, 4] == 255


def test_a_face_at_the_border_is_whole_there():
    image = Image.new("RGB", (100, 100), "black")
    pasted = np.asarray(paste(image, [Placed(Box(-30, 20, 60), white(60))], 1))
    assert pasted[50, 0, 0] == 255  # the side that lies outside fades outside
    assert pasted[50, 29, 0] < 10


def test_the_photograph_is_enlarged_with_its_faces():
    pasted = paste(face(2, 64), [Placed(Box(16, 16, 32), white(128))], 3)
    assert pasted.size == (192, 192)
    assert np.asarray(pasted)[96, 96, 0] == 255
    np.testing.assert_array_equal(
        np.asarray(pasted)[:40], np.asarray(face(2, 64).resize((192, 192), Image.Resampling.BICUBIC))[:40]
    )


def test_a_small_face_lies_over_a_large_one():
    small = np.zeros((32, 32, 3), dtype=np.uint8)
    pasted = np.asarray(
        paste(
            Image.new("RGB", (100, 100), "gray"),
            [Placed(Box(40, 40, 20), small), Placed(Box(0, 0, 100), white(100))],
            1,
        )
    )
    assert pasted[50, 50, 0] == 0


def test_colours_are_those_of_the_lr_and_details_the_networks():
    lr = np.asarray(face(3, 16))
    sr = np.asarray(face(3)).astype(int)
    reddish = (sr + np.array([40, 0, -20])).clip(0, 255).astype(np.uint8)
    matched = fit_enlarged(reddish, lr)
    assert np.abs(matched.astype(int) - sr).mean() < 2.5 < np.abs(reddish.astype(int) - sr).mean() / 4
    np.testing.assert_allclose(fit_enlarged(np.asarray(face(3)), lr).astype(int), sr, atol=2)
