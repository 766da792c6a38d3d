"""The models that come with the package: there, small, safe, and far better than bicubic on faces they never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

import pkdn_lightning
from pkdn_lightning import load_model, save_pretrained
from pkdn_lightning.data.blind import make_blind
from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.export.comparison import restore
from pkdn_lightning.metrics import psnr_y
from pkdn_lightning.models.runtimes import load_runtime

FOLDER = Path(pkdn_lightning.__file__).parent / "models" / "included"


@pytest.fixture(scope="module")
def faces():
    """Eight faces of the test split, (8, 3, 128, 128) in [0, 1]."""
    hr = np.stack([face.hr for face in portraits("test", 8)])
    return torch.from_numpy(hr).permute(0, 3, 1, 2).float() / 255


def test_they_are_small_and_say_what_they_are():
    weights = sorted(FOLDER.glob("*.safetensors"))
    assert [file.stem for file in weights] == ["photos_x4", "photos_x8", "portraits_x4", "portraits_x8"]
    sizes = [file.stat().st_size for file in weights]
    assert (sum(sizes[:2]) < 3e6, sum(sizes[2:]) < 6e6) == (True, True)
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in ("pkdn train experiment=included_model", "public domain", "## Limits", "+2.19 dB"):
        assert part in card


@pytest.mark.parametrize("name", ["portraits_x4", "portraits_x8"])
def test_the_8_bit_model_restores_like_the_original(name, faces):
    """It is what `predict` takes by default on a CPU."""
    pytest.importorskip("onnxruntime")
    original, small = load_runtime(name), load_runtime(f"{name}_int8")
    assert (small.runtime, small.scale) == ("onnx", original.scale)
    assert small.card["loss_db"] < 0.03
    lr = degrade(faces, original.scale)
    loss = psnr_y(restore(original, lr), faces) - psnr_y(restore(small, lr), faces)
    assert loss.mean() < 0.05
    assert small.card["provenance"] == original.card["provenance"]


def test_a_misspelt_name_is_answered_with_the_names_there_are():
    with pytest.raises(CheckpointError, match=r"Did you mean 'portraits_x4'\?\nIncluded models: default, photos_x4"):
        load_model("portrait_x4")


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
@pytest.mark.parametrize(("name", "gain"), [("default", 3.5), ("portraits_x4", 3.5)])
def test_they_restore_portraits_far_better_than_bicubic(name, gain, faces):
    net = load_runtime(name)
    lr = degrade(faces, net.scale)
    gains = psnr_y(restore(net, lr), faces) - psnr_y(enlarge(lr, net.scale), faces)
    assert gains.mean() > gain
    assert gains.min() > 1


@torch.inference_mode()
@pytest.mark.parametrize("scale", [4, 8])
def test_those_for_photographs_restore_blurred_and_noisy_portraits_better(scale, faces):
    drawn = make_blind("blind", None, scale, 128).draw_fixed(np.arange(len(faces)))
    lr = degrade(faces, scale, "blind", {name: torch.from_numpy(each) for name, each in drawn.items()})
    clean, photo = (psnr_y(restore(load_runtime(f"{kind}_x{scale}"), lr), faces) for kind in ("portraits", "photos"))
    assert (photo - clean).mean() > 0.7
    assert (photo - psnr_y(enlarge(lr, scale), faces)).mean() > 1.5
