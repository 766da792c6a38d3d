"""Optional metrics: values of equal and of different faces, and one message for each that is not available."""

import numpy as np
import pytest
import torch

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.evaluate import perceptual_metrics as perceptual_metrics
from pkdn_lightning.evaluate.perceptual_metrics import ParsingAgreement, make_perceptual_metrics, mean_iou
from tests.conftest import real_face

CPU = torch.device("cpu")


class BrightAndDark:
    """A parser that calls bright pixels skin."""

    def parse(self, names, faces):
        return [(face.mean(-1) > 128).astype(np.uint8) for face in faces]

    def provenance(self):
        return {}


def test_equal_maps_agree_wholly():
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert mean_iou(labels, labels) == 1


def test_the_mean_is_over_the_classes_of_either():
    true, made = np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)
    true[0] = 1
    made[0, 0] = 1
    made[0, 1] = 2  # 0: 2 of 2, 1: 1 of 2, 2: 0 of 1
    assert mean_iou(made, true) == pytest.approx((1 + 0.5 + 0) / 3)


def test_parsing_agreement_is_image_by_image():
    hr = torch.zeros(2, 3, 4, 4)
    hr[:, :, :2] = 1
    sr = hr.clone()
    sr[1, :, :2, :2] = 0
    agreement = ParsingAgreement(BrightAndDark())(sr, hr)
    assert agreement[0] == 1
    assert agreement[1].item() == pytest.approx((4 / 8 + 8 / 12) / 2)


def test_an_unavailable_metric_is_skipped_with_one_message(monkeypatch):
    monkeypatch.setattr(perceptual_metrics, "find_spec", lambda name: None)
    said: list[str] = []
    found = make_perceptual_metrics(["parsing", "identity", "lpips"], {}, said.append, CPU)
    assert found == {}
    assert [line.split(":")[0] for line in said] == ["Without parsing", "Without identity", "Without lpips"]


def test_an_unknown_metric_is_an_error():
    with pytest.raises(ConfigError, match=r"extra=identiy is not a metric.*Did you mean 'identity'"):
        make_perceptual_metrics(["identiy"], {}, print, CPU)


def test_identity_tells_people_apart():
    pytest.importorskip("dlib", reason="an extra: pip install 'pkdn-lightning[landmarks]'")
    faces = torch.stack([torch.from_numpy(real_face(n).hr).permute(2, 0, 1) / 255 for n in range(2)])
    identity = perceptual_metrics.Identity()
    same, other = identity(faces, faces), identity(faces.flip(0), faces)
    assert same[~same.isnan()].min() > 0.999
    assert (other[~other.isnan()] < 0.999).all()
