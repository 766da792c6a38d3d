"""A tiny model, portraits as files, and a detector that finds what it is told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.faces.detection import Detection
from pkdn_lightning.models.pretrained import write_pretrained
from pkdn_lightning.networks.pkdn import PKDNStudent
from pkdn_lightning.predict import routing as deciding
from tests.conftest import real_face

CARD = {
    "network": {
        "_target_": "pkdn_lightning.networks.pkdn.PKDNStudent",
        "width": 4, "rcabs_per_level": 1, "global_residual": True,
    },
    "scale": 8, "encoding": "colour", "degradation": "pil", "experiment": "tiny", "data": None,
}  # fmt: skip


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """An untrained student that adds a little to the enlarged LR face."""
    torch.manual_seed(0)
    net = PKDNStudent(width=4, rcabs_per_level=1, global_residual=True)
    with torch.no_grad():
        net.tail.weight.mul_(0.05)
        net.tail.bias.zero_()
    folder = tmp_path_factory.mktemp("model")
    write_pretrained(folder, CARD, net.state_dict())
    return folder


def face(number: int = 2, size: int = 128) -> Image.Image:
    """Returns a portrait of 128 px, reduced by bicubic if `size` is smaller."""
    image = Image.fromarray(real_face(number, 128).hr)
    return image if size == 128 else image.resize((size, size), Image.Resampling.BICUBIC)


def blurred(number: int = 2, size: int = 128) -> Image.Image:
    """Returns a portrait of `size` px that holds no more detail than 16 px do."""
    return face(number, 16).resize((size, size), Image.Resampling.BICUBIC)


def found(left: float, top: float, side: float) -> Detection:
    """Returns what the detector finds of a face whose image has this place and side."""
    places = np.array([[0.35, 0.42], [0.65, 0.42], [0.5, 0.6], [0.38, 0.75], [0.62, 0.75]], dtype=np.float32)
    box = (left + side * 0.2, top + side * 0.15, side * 0.6, side * 0.75)
    return Detection(box, places * np.float32(side) + np.array([left, top], dtype=np.float32), 1.0)


@pytest.fixture
def detector(monkeypatch):
    """Makes the detector find faces at these places, whatever the image."""

    def finds(*places: tuple[float, float, float]) -> None:
        monkeypatch.setattr(deciding, "check_detector", lambda *_: None)
        monkeypatch.setattr(deciding, "detect_faces", lambda image, thorough: [found(*place) for place in places])

    return finds


@pytest.fixture
def config(model, tmp_path):
    """Composes a prediction from `in` to `out`."""

    def make(*overrides: str):
        places = [f"model={model}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}"]
        return compose("predict", [*places, "accelerator=cpu", *overrides])

    return make


@pytest.fixture
def images(tmp_path) -> Path:
    """The folder that is restored."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in"
