"""Heatmaps: Gaussians where landmarks are, components where labels are, and both mirror with the face."""

import numpy as np
import pytest
import torch

from pkdn_lightning.data.batches import prepare_batch
from pkdn_lightning.data.heatmaps import component_heatmaps, landmark_heatmaps, mirror_landmarks
from pkdn_lightning.data.labels import HEATMAP_CHANNELS, LABELS
from tests.conftest import real_face

SIZE = 64


@pytest.fixture(scope="module")
def raw():
    faces = [real_face(number, SIZE) for number in range(4)]
    return {
        "hr": torch.from_numpy(np.stack([face.hr for face in faces])),
        "parsing": torch.from_numpy(np.stack([face.parsing for face in faces])),
        "landmarks": torch.from_numpy(np.stack([face.landmarks for face in faces])),
        "row": torch.arange(4),
        "mirrored": torch.zeros(4, dtype=torch.bool),
    }


def finished(raw, heatmaps, mirrored=False):
    raw = {**raw, "mirrored": torch.full((4,), mirrored)}
    return prepare_batch(raw, scale=8, degradation="pil", encoding="colour", heatmaps=heatmaps, heatmap_px=16)


def test_a_gaussian_peaks_at_its_landmark():
    points = torch.tensor([[[9.5, 21.5]]])  # between pixels of the face, on a pixel of the heatmap
    heatmap = landmark_heatmaps(points, 64, 16)[0, 0]
    assert heatmap[5, 2] == 1
    assert heatmap[5, 3] == pytest.approx(np.exp(-0.5), abs=1e-6)
    assert heatmap[7, 3] == pytest.approx(np.exp(-(4 + 1) / 2), abs=1e-6)


def test_mirroring_landmarks_twice_changes_nothing(raw):
    again = mirror_landmarks(mirror_landmarks(raw["landmarks"], SIZE), SIZE)
    torch.testing.assert_close(again, raw["landmarks"])


def test_a_mirrored_face_keeps_the_order_of_landmarks(raw):
    mirrored = mirror_landmarks(raw["landmarks"], SIZE)
    for points in (raw["landmarks"], mirrored):
        assert (points[:, 36:42, 0].mean(1) < points[:, 42:48, 0].mean(1)).all()  # eyes
        assert (points[:, 0, 0] < points[:, 16, 0]).all()  # jaw, from the image's left to its right
        assert (points[:, 48, 0] < points[:, 54, 0]).all()  # corners of the mouth
        assert (points[:, 60, 0] < points[:, 64, 0]).all()
        assert (points[:, 17, 0] < points[:, 26, 0]).all()  # brows
        assert (points[:, 31, 0] < points[:, 35, 0]).all()  # nostrils


@pytest.mark.parametrize("kind", ["landmarks", "components"])
def test_heatmaps_mirror_with_the_face(raw, kind):
    plain, mirrored = finished(raw, kind)["heatmaps"], finished(raw, kind, mirrored=True)["heatmaps"]
    assert plain.shape == (4, HEATMAP_CHANNELS[kind], 16, 16)
    torch.testing.assert_close(mirrored.sum(1), plain.sum(1).flip(-1), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(mirrored[:, 0], plain[:, 0].flip(-1), atol=1e-3)  # the sides' channels are swapped


def test_components_lie_where_the_landmarks_say(raw):
    components = component_heatmaps(raw["parsing"], SIZE)
    grid = torch.arange(SIZE, dtype=torch.float32)
    landmarks = raw["landmarks"]
    for channel, points in enumerate([slice(36, 42), slice(42, 48), slice(27, 36), slice(48, 68)]):
        for face in range(4):
            mass = components[face, channel]
            assert mass.sum() > 0
            x = (mass.sum(0) * grid).sum() / mass.sum()
            y = (mass.sum(1) * grid).sum() / mass.sum()
            low, high = landmarks[face, points].amin(0) - 2, landmarks[face, points].amax(0) + 2
            assert low[0] <= x <= high[0]
            assert low[1] <= y <= high[1]


def test_the_silhouette_is_an_outline():
    labels = torch.zeros(1, 64, 64, dtype=torch.uint8)
    labels[:, 16:48, 16:48] = LABELS.index("skin")
    silhouette = component_heatmaps(labels, 64)[0, 4]
    assert silhouette[32, 32] == 0
    assert silhouette[16, 32] == pytest.approx(2 / 3, abs=1e-4)  # two pixels wide, softened over three
    assert silhouette[4, 4] == 0


def test_a_test_set_without_landmarks_has_no_heatmaps(raw):
    bare = {key: value for key, value in raw.items() if key != "landmarks"}
    assert "heatmaps" not in finished(bare, "landmarks")
