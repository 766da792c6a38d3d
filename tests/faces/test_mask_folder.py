"""Parsing maps from a folder: where they are found, and what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.mask_folder import MaskFolder
from pkdn_lightning.faces.rejection import Rejected

LABELS = np.random.default_rng(0).integers(0, 19, (32, 32), dtype=np.uint8)


@pytest.fixture
def maps(tmp_path) -> Path:
    for split in ("train", "val"):
        (tmp_path / split / "parsing/person").mkdir(parents=True)
    return tmp_path


def taken(folder: Path, *names: str, size_px: int = 32) -> list[np.ndarray | Rejected]:
    faces = [np.zeros((size_px, size_px, 3), np.uint8)] * len(names)
    return MaskFolder(path=str(folder)).parse(names, faces)


@pytest.mark.parametrize(
    ("place", "name"),
    [("train/parsing/a.png", "train/a"), ("train/a.png", "train/a"), ("a.png", "train/a"),
     ("train/parsing/person/1.png", "train/person/1")],
)  # fmt: skip
def test_a_map_is_found_and_a_missing_one_leaves_the_others(maps, place, name):
    Image.fromarray(LABELS).save(maps / place)
    found, missing = taken(maps, name, "train/b")
    np.testing.assert_array_equal(found, LABELS)
    assert found.dtype == np.uint8
    assert missing.reason == "no_map"
    assert "none of train/parsing/b.png, train/b.png, b.png" in missing.detail


def test_the_nearest_place_wins(maps):
    for number, place in enumerate(["train/parsing/a.png", "train/a.png", "a.png"]):
        Image.fromarray(np.full((32, 32), number, np.uint8)).save(maps / place)
    assert [labels.max() for labels in taken(maps, "train/a", "val/a")] == [0, 2]


def test_a_palette_map_and_one_of_another_size(maps):
    image = Image.fromarray(LABELS)
    image.putpalette([value for number in range(256) for value in (255 - number, number, 0)])
    image.save(maps / "a.png")
    assert Image.open(maps / "a.png").mode == "P"
    np.testing.assert_array_equal(taken(maps, "train/a")[0], LABELS)
    np.testing.assert_array_equal(taken(maps, "train/a", size_px=64)[0], LABELS.repeat(2, 0).repeat(2, 1))
    assert taken(maps, "train/a", size_px=16)[0].shape == (16, 16)


@pytest.mark.parametrize(
    ("image", "detail"),
    [
        (Image.new("RGB", (32, 32)), "is of mode RGB"),
        (Image.new("I;16", (32, 32)), "16-bit grey"),
        (Image.new("1", (32, 32)), "black and white"),
        (Image.new("L", (32, 16)), "is 32x16"),
        (Image.new("L", (32, 32), 255), "has labels [255] outside 0..18"),
        (None, "is empty"),
    ],
)
def test_a_wrong_map_is_rejected(maps, image, detail):
    (maps / "a.png").write_bytes(b"") if image is None else image.save(maps / "a.png")
    [result] = taken(maps, "train/a")
    assert result.reason == "bad_map"
    assert detail in result.detail


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="parser=masks parser.path=~/maps"):
        MaskFolder(path=None)
    with pytest.raises(DataError, match=r"no folder .*nowhere \(parser\.path\)"):
        MaskFolder(path=str(tmp_path / "nowhere"))
    assert MaskFolder(path=str(tmp_path)).provenance() == {
        "parser": "masks: maps taken as they are, labels of celebamask_hq"
    }
