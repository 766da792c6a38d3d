"""What CONTRIBUTING promises: a network, a loss term, a dataset and an experiment are new files, none edited."""

import sys
import textwrap
import types

import torch
from PIL import Image
from torch import nn

from pkdn_lightning import load_model
from pkdn_lightning.config import compose
from pkdn_lightning.losses import LossTerm
from pkdn_lightning.networks.contract import SRNetwork, SROutput
from pkdn_lightning.prepare import prepare
from pkdn_lightning.train import train
from tests.conftest import TINY


class Doubler(SRNetwork):
    """A network of one convolution."""

    def __init__(self, scale: int, strength: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.scale, self.strength = scale, strength

    def forward(self, lr: torch.Tensor) -> SROutput:
        return SROutput(nn.functional.pixel_shuffle(self.conv(lr) * self.strength, self.scale))


class Brightness(LossTerm):
    """A loss term that compares mean brightness."""

    def forward(self, output, hr, teacher_output):
        return (output.sr.mean() - hr.mean()).abs()


CONF = {
    "model/doubler.yaml": """
        _target_: pkdn_lightning.networks.extra.Doubler
        scale: ${data.scale}
        strength: 0.5
    """,
    "objective/bright.yaml": """
        sr: {weight: 1.0, term: {_target_: pkdn_lightning.losses.Reconstruction}}
        bright: {weight: 0.1, term: {_target_: pkdn_lightning.networks.extra.Brightness}}
    """,
    "data/mine.yaml": """
        name: mine
        store: ${paths.stores}/mine
        source:
          _target_: pkdn_lightning.prepare.sources.folder.FolderSource
          path: faces
          size_px: 32
    """,
    "experiment/doubler.yaml": """
        # @package _global_
        defaults:
          - override /data: mine
          - override /model: doubler
          - override /objective: bright
        method: doubler
    """,
}


def test_new_files_are_enough(tmp_path, monkeypatch):
    extra = types.ModuleType("pkdn_lightning.networks.extra")
    extra.Doubler, extra.Brightness = Doubler, Brightness
    monkeypatch.setitem(sys.modules, extra.__name__, extra)
    for name, text in CONF.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(textwrap.dedent(text).lstrip())
    for split, count in {"train": 4, "val": 1, "test": 1}.items():
        (tmp_path / "faces" / split / "images").mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (32, 32), (50 * number, 99, 0)).save(tmp_path / f"faces/{split}/images/{number}.png")
    here = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"

    prepare(compose("prepare", [here, "data=mine"]))
    tiny = [override for override in TINY if not override.startswith(("model.", "data.name"))]
    result = train(compose("train", [here, "experiment=doubler", *tiny, "run_dir=run"]))
    assert "train/loss/bright" in result.run.metrics.read_text().splitlines()[0]
    assert result.run.read_results()["experiment"] == "doubler_mine"
    assert load_model("run")(torch.rand(1, 3, 8, 8)).sr.shape == (1, 3, 32, 32)
