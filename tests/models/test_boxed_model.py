"""The model that comes with the package: there, small, safe, and better than bicubic on faces it never saw."""

from pathlib import Path

import pytest
import torch

import pkdn_lightning
from pkdn_lightning import load_model, save_pretrained
from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.metrics import psnr_y

FOLDER = Path(pkdn_lightning.__file__).parent / "models"


@pytest.fixture(scope="module")
def net():
    return load_model("default")


def test_it_is_small_and_says_what_it_is():
    (weights,) = FOLDER.glob("*.safetensors")
    assert weights.stat().st_size < 6e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in ("pkdn train experiment=included_model", "public domain", "## Limits", "+2.19 dB"):
        assert part in card


def test_passed_on_it_says_where_it_comes_from(tmp_path):
    card = (save_pretrained("default", tmp_path / "out").parent / "README.md").read_text(encoding="utf-8")
    for part in (
        "public domain",
        "pkdn train experiment=included_model",
        "18,000 steps",
        "test/celeba/psnr_y | 25.6080",
    ):
        assert part in card
    assert "not recorded" not in card.lower()
    lone = save_pretrained(tmp_path / "out", tmp_path / "again").rename(tmp_path / "lone.safetensors")
    assert save_pretrained(lone, tmp_path / "third").with_name("README.md").read_text(encoding="utf-8") == card


@torch.inference_mode()
def test_it_restores_unseen_faces_better_than_bicubic(net):
    faces = [torch.from_numpy(face.hr) for face in portraits("test", 8)]
    hr = torch.stack(faces).permute(0, 3, 1, 2).float() / 255
    lr = degrade(hr, 8)
    gain = psnr_y(net(lr).sr, hr) - psnr_y(enlarge(lr, 8), hr)
    assert gain.mean() > 3
    assert gain.min() > 1
