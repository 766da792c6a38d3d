"""What parsing maps mean: faces pass, whatever they look like; the same maps with other labels do not."""

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.labels import LABELS, ORDERS
from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare import prepare
from pkdn_lightning.prepare.map_check import relations, which_fit
from tests.conftest import real_face

FACES = 16
TO_BISENET = np.argsort(ORDERS["bisenet"]).astype(np.uint8)


@pytest.fixture(scope="module")
def faces():
    return [real_face(number, 64) for number in range(FACES)]


@pytest.fixture(scope="module")
def maps(faces):
    return np.stack([face.parsing for face in faces])


def permuted(seed: int) -> np.ndarray:
    return np.append(0, 1 + np.random.default_rng(seed).permutation(len(LABELS) - 1)).astype(np.uint8)


def exchanged(*pairs: tuple[str, str]) -> np.ndarray:
    table = np.arange(len(LABELS), dtype=np.uint8)
    for a, b in pairs:
        table[[LABELS.index(a), LABELS.index(b)]] = LABELS.index(b), LABELS.index(a)
    return table


def test_faces_pass_one_by_one_and_together(maps):
    assert all(which_fit(maps, "portraits"))
    assert all(relations(maps[number : number + 1]).fit for number in range(FACES))
    small = [real_face(number, 16).parsing for number in range(FACES)]
    assert all(which_fit(small, "small"))


@pytest.mark.parametrize(
    "change",
    [lambda maps: TO_BISENET[maps], lambda maps: maps[:, ::-1], lambda maps: maps * 0, lambda maps: maps * 0 + 1,
     lambda maps: np.rot90(maps, axes=(1, 2)), lambda maps: np.roll(np.arange(19, dtype=np.uint8), 1)[maps],
     *(lambda maps, seed=seed: permuted(seed)[maps] for seed in range(6)),
     *(lambda maps, pair=pair: exchanged(pair)[maps] for pair in
       [("nose", "mouth"), ("skin", "hair"), ("l_eye", "r_eye"), ("u_lip", "l_lip"), ("neck", "nose")])],
)  # fmt: skip
def test_other_labels_are_refused(maps, change):
    with pytest.raises(DataError, match="do not show faces"):
        which_fit(change(maps), "train/a")


def test_a_wrong_map_among_good_ones_is_named(maps):
    mixed = maps.copy()
    mixed[3] = 0
    assert [place for place, fits in enumerate(which_fit(mixed, "mixed")) if not fits] == [3]


@pytest.fixture
def folder(faces, tmp_path):
    """Faces with maps in BiSeNet's order."""
    for kind in ("images", "parsing"):
        (tmp_path / "faces" / "train" / kind).mkdir(parents=True)
    for number, face in enumerate(faces[:4]):
        Image.fromarray(face.hr).save(tmp_path / f"faces/train/images/{number}.png")
        Image.fromarray(TO_BISENET[face.parsing]).save(tmp_path / f"faces/train/parsing/{number}.png")
    return tmp_path / "faces"


def made(folder, *overrides):
    given = [f"data.source.path={folder}", "data.source.size_px=64", "data.name=made", "workers=0", *overrides]
    return prepare(compose("prepare", given))


def test_the_verb_names_the_order_and_takes_it(folder, maps):
    with pytest.raises(DataError, match=r"label order 'bisenet': type data=folder data\.source\.labels=bisenet"):
        made(folder)
    np.testing.assert_array_equal(made(folder, "data.source.labels=bisenet", "out=a").parsing, maps[:4])
    np.testing.assert_array_equal(made(folder, "check_maps=false", "out=b").parsing, TO_BISENET[maps[:4]])


def test_masks_of_a_parser_are_checked_too(folder, maps):
    (folder / "train/parsing").rename(folder.parent / "maps")
    masks = ["parser=masks", f"parser.path={folder.parent / 'maps'}"]
    with pytest.raises(DataError, match=r"parser\.labels=bisenet"):
        made(folder, *masks)
    np.testing.assert_array_equal(made(folder, *masks, "parser.labels=bisenet", "out=a").parsing, maps[:4])
