"""The included portraits: what is packed, that maps and landmarks agree, and what is said of a damaged file."""

import numpy as np
import pytest

from pkdn_lightning.data import portraits as packed
from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.portraits import PACKED, names, portrait, portraits
from pkdn_lightning.errors import DataError

_MOST_BYTES = 10_000_000


def centre(parsing: np.ndarray, *labels: str) -> np.ndarray:
    """Returns the mean x, y of the pixels that have one of the labels; NaN without any."""
    places = np.argwhere(np.isin(parsing, [LABELS.index(label) for label in labels]))
    return places.mean(axis=0)[::-1] if len(places) else np.full(2, np.nan)


def test_no_person_is_in_two_splits():
    found = [name for split in ("train", "val", "test") for name in names(split)]
    assert [len(names(split)) for split in ("train", "val", "test")] == [856, 60, 100]
    assert len(set(found)) == len(found) == 1016
    assert PACKED.stat().st_size < _MOST_BYTES


def test_the_first_ones_of_a_split_are_read():
    faces = portraits("test", 3)
    assert [face.name for face in faces] == names("test")[:3]
    assert len(portraits("val", 1000)) == 60
    for face in faces:
        assert (face.hr.shape, face.parsing.shape, face.landmarks.shape) == ((128, 128, 3), (128, 128), (68, 2))
        assert (face.hr.dtype, face.parsing.dtype, face.landmarks.dtype) == (np.uint8, np.uint8, np.float32)
    faces[0].parsing[:] = 0  # what is read belongs to the reader
    assert portraits("test", 1)[0].parsing.any()


@pytest.mark.parametrize("size_px", [32, 64, 128, 200])
def test_maps_and_landmarks_agree_at_every_size(size_px):
    faces, tolerance = portraits("test", size_px=size_px), size_px / 128
    away = [
        np.abs(face.landmarks[points].mean(axis=0) - centre(face.parsing, *labels)).max()
        for face in faces
        for points, labels in ((slice(36, 42), ["r_eye"]), (slice(42, 48), ["l_eye"]))
    ]
    mouth = [
        np.abs(face.landmarks[48:60].mean(axis=0) - centre(face.parsing, "u_lip", "mouth", "l_lip")).max()
        for face in faces
    ]
    assert np.isfinite(away).mean() > 0.5  # glasses hide the others
    assert np.nanpercentile(away, 90) < 1.5 * max(1, tolerance)
    assert np.nanpercentile(mouth, 90) < 4 * tolerance + 0.5


def test_sides_are_the_persons():
    both = [face.parsing for face in portraits("test")]
    eyes = np.array([[centre(parsing, side)[0] for side in ("r_eye", "l_eye")] for parsing in both])
    seen = np.isfinite(eyes).all(axis=1)
    assert seen.sum() > 50
    assert (eyes[seen, 0] < eyes[seen, 1]).all()


def test_a_size_is_made_as_pillow_makes_it():
    from PIL import Image

    whole, small = portraits("val", 1)[0], portraits("val", 1, size_px=48)[0]
    expected = Image.fromarray(whole.hr).resize((48, 48), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small.hr, np.asarray(expected))
    np.testing.assert_allclose((small.landmarks + 0.5) / 48, (whole.landmarks + 0.5) / 128, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "cut", "no archive", "an image", "the maps"])
def test_a_damaged_file_is_named(damage, tmp_path, monkeypatch):
    file, content = tmp_path / "portraits.zip", bytearray(PACKED.read_bytes())
    if damage in ("an image", "the maps"):
        place = {"an image": 3000, "the maps": len(content) - 500_000}[damage]
        content[place : place + 100] = bytes(100)
    if damage != "missing":
        file.write_bytes({"cut": content[:5000], "no archive": b"hello"}.get(damage, content))
    first = names("train")[0]
    monkeypatch.setattr(packed, "PACKED", file)
    packed._opened.cache_clear()
    with pytest.raises(DataError, match=r"portraits.zip.*\n.*pip install"):
        portrait("train", first)
    packed._opened.cache_clear()
