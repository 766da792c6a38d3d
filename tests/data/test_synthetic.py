from functools import cache

import numpy as np
import pytest

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.synthetic import SyntheticFace, draw_face

LEFT_EYE, RIGHT_EYE, GLASSES = LABELS.index("l_eye"), LABELS.index("r_eye"), LABELS.index("eye_g")


@cache
def faces() -> tuple[SyntheticFace, ...]:
    return tuple(draw_face(index, size_px=64) for index in range(140))


def share(name: str) -> float:
    """Of the faces, how many show the label at all."""
    return float(np.mean([(face.parsing == LABELS.index(name)).any() for face in faces()]))


def same(one: SyntheticFace, other: SyntheticFace) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def near(parsing: np.ndarray, names: tuple[str, ...], at: np.ndarray) -> float:
    """Distance in pixels from a point to the nearest pixel with one of the labels."""
    rows, columns = np.nonzero(np.isin(parsing, [LABELS.index(name) for name in names]))
    return float(np.hypot(columns - at[0], rows - at[1]).min()) if rows.size else np.inf


def test_a_face_depends_on_seed_and_index_only():
    first = [draw_face(index, seed=3, size_px=64) for index in range(4)]
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    again = [draw_face(index, seed=3, size_px=64) for index in reversed(range(4))][::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_the_global_random_state_is_left_alone():
    np.random.seed(1)  # noqa: NPY002
    before = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    draw_face(0, size_px=64)
    assert np.random.random() == before  # noqa: NPY002


def test_faces_of_different_indices_and_seeds_differ():
    three = [draw_face(5, size_px=64), draw_face(6, size_px=64), draw_face(5, seed=1, size_px=64)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (three[one].hr != three[other].hr).mean() > 0.5
        assert (three[one].landmarks != three[other].landmarks).any()


@pytest.mark.parametrize("size", [64, 100, 128, 256])
def test_shapes_types_and_ranges(size: int):
    face = draw_face(7, size_px=size)
    assert face.hr.shape == (size, size, 3)
    assert face.hr.dtype == np.uint8
    assert face.hr.flags["C_CONTIGUOUS"]
    assert face.parsing.shape == (size, size)
    assert face.parsing.dtype == np.uint8
    assert face.parsing.max() < len(LABELS)
    assert face.landmarks.shape == (68, 2)
    assert face.landmarks.dtype == np.float32


def test_landmarks_lie_in_the_image_except_for_odd_points_of_the_jaw():
    points = np.stack([face.landmarks for face in faces()])
    assert np.isfinite(points).all()
    assert points[:, 17:].min() > 0
    assert points[:, 17:].max() < 63
    assert ((points > -1) & (points < 64)).mean() > 0.99


def test_every_label_occurs():
    assert {name for name in LABELS if share(name) == 0} == set()


@pytest.mark.parametrize("name", ["skin", "nose", "u_lip", "l_lip", "neck", "cloth"])
def test_the_parts_of_every_face_are_there(name: str):
    assert share(name) > 0.97


@pytest.mark.parametrize("name", ["l_eye", "r_eye", "l_brow", "r_brow"])
def test_eyes_and_brows_show_unless_glasses_or_hair_hide_them(name: str):
    bare = [face.parsing for face in faces() if (face.parsing != GLASSES).all()]
    assert len(bare) > 90
    assert np.mean([(parsing == LABELS.index(name)).any() for parsing in bare]) > 0.9


@pytest.mark.parametrize("name", ["eye", "brow", "ear"])
def test_the_persons_left_lies_on_the_right_of_the_image(name: str):
    both = 0
    for face in faces():
        left, right = (np.nonzero(face.parsing == LABELS.index(f"{side}_{name}"))[1] for side in "lr")
        if left.size and right.size:
            both += 1
            assert right.max() < left.min()
    assert both > 30


def test_landmarks_follow_the_order_of_ibug():
    for face in faces():
        x, y = face.landmarks.T
        assert x[0] < x[8] < x[16]
        assert y[8] > max(y[:17]) - 1  # the head may lean
        assert x[17] < x[21] < x[22] < x[26]
        assert y[27] < y[28] < y[29] < y[30] < y[33]
        assert x[31] < x[33] < x[35]
        assert x[36] < x[39] < x[42] < x[45]
        for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 57), (61, 67), (62, 66), (63, 65)):
            assert y[upper] <= y[lower]
        assert x[48] < x[60] < x[64] < x[54]
        assert y[57] < y[8]


@pytest.mark.parametrize(("first", "eye", "brow"), [(36, "r_eye", "r_brow"), (42, "l_eye", "l_brow")])
def test_landmarks_of_eyes_and_brows_lie_on_their_labels(first: int, eye: str, brow: str):
    away = [near(face.parsing, (eye, "eye_g"), face.landmarks[first : first + 6].mean(0)) for face in faces()]
    assert np.mean(np.array(away) <= 1) > 0.9  # the rest lies under hair
    off = []
    for face in (face for face in faces() if (face.parsing == LABELS.index(eye)).sum() > 10):
        rows, columns = np.nonzero(face.parsing == LABELS.index(eye))
        corners = face.landmarks[first : first + 6]
        off.append(float(np.abs(corners.mean(0) - (columns.mean(), rows.mean())).max()))
    assert np.mean(np.array(off) < 1) > 0.9
    brow_first = 17 if brow == "r_brow" else 22
    away = [near(face.parsing, (brow, "eye_g"), face.landmarks[brow_first + 2]) for face in faces()]
    assert np.mean(np.array(away) <= 1.5) > 0.8


def test_landmarks_of_nose_and_mouth_lie_on_their_labels():
    for face in faces():
        assert near(face.parsing, ("nose",), face.landmarks[30]) < 1
        rows, columns = np.nonzero(np.isin(face.parsing, [LABELS.index(name) for name in ("u_lip", "l_lip", "mouth")]))
        mouth = face.landmarks[48:68]
        assert mouth[:, 0].min() > columns.min() - 3
        assert mouth[:, 0].max() < columns.max() + 3
        assert mouth[:, 1].min() > rows.min() - 2
        assert mouth[:, 1].max() < rows.max() + 2
        assert near(face.parsing, ("u_lip", "mouth"), face.landmarks[51]) < 2
        assert near(face.parsing, ("l_lip",), face.landmarks[57]) < 2


def test_the_chin_landmark_lies_where_skin_ends():
    for face in faces():
        x, y = np.rint(face.landmarks[8]).astype(int)
        column = face.parsing[:, x]
        assert abs(np.nonzero(column == LABELS.index("skin"))[0].max() - y) <= 1.5


@pytest.mark.parametrize("size", [64, 256])
def test_the_layout_does_not_depend_on_the_size(size: int):
    for index in (0, 5, 11):
        usual, other = draw_face(index), draw_face(index, size_px=size)
        np.testing.assert_allclose((other.landmarks + 0.5) / size, (usual.landmarks + 0.5) / 128, atol=1e-4)
        big, small = (usual, other) if size < 128 else (other, usual)
        assert (big.parsing[::2, ::2] == small.parsing).mean() > 0.95
        halved = big.hr.reshape(len(small.hr), 2, len(small.hr), 2, 3).mean((1, 3))
        assert np.abs(halved - small.hr).mean() < 4


def test_faces_vary():
    skins = np.stack([face.hr[face.parsing == LABELS.index("skin")].mean(0) for face in faces()])
    assert skins.std(0).min() > 20
    hairs = [
        face.hr[face.parsing == LABELS.index("hair")].mean() for face in faces() if (face.parsing == 13).sum() > 50
    ]
    assert np.std(hairs) > 12
    backgrounds = [face.hr[face.parsing == 0].mean() for face in faces()]
    assert np.std(backgrounds) > 20
    assert np.stack([face.landmarks for face in faces()]).std(0)[:, 0].min() > 0.8


def test_eyes_carry_detail_that_a_small_image_loses():
    lost = []
    for face in faces():
        if (face.parsing == LEFT_EYE).sum() + (face.parsing == RIGHT_EYE).sum() < 10:
            continue
        grey = face.hr.mean(2)
        blocks = grey.reshape(16, 4, 16, 4).mean((1, 3)).repeat(4, 0).repeat(4, 1)
        on_eye = np.isin(face.parsing, (LEFT_EYE, RIGHT_EYE))
        lost.append(np.abs(grey - blocks)[on_eye].mean() / np.abs(grey - blocks)[face.parsing == 1].mean())
    assert np.median(lost) > 2
