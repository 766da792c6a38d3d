"""The same numbers on the device as on a CPU: networks in every precision, batches, metrics, the parser."""

import numpy as np
import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.data.augmentation import Augmentation
from pkdn_lightning.data.batches import prepare_batch
from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.faces.parser import BiSeNetParser
from pkdn_lightning.hardware import full_float32
from pkdn_lightning.metrics import PROTOCOLS, quality
from pkdn_lightning.networks.bisenet import BiSeNet
from tests.conftest import real_face

pytestmark = pytest.mark.gpu

NETWORKS = {
    "dic": ["model.keypoints=5"], "fishfsrnet": [], "fsrnet": ["model.landmarks=5"], "kdfsrnet": [],
    "kdfsrnet_teacher": [], "rcan": [], "sfmnet": [], "sisn": [], "sparnet": [], "student": [], "teacher": [],
    "urdgn": [],
}  # fmt: skip
PRECISIONS = {
    "float32": (None, 2e-5),
    "tf32": (None, 5e-3),  # 10 bits of mantissa, as float16
    "bfloat16": (torch.bfloat16, 4e-2),
    "float16": (torch.float16, 5e-3),
}
"""The type of autocast, and the largest relative error of the output (norm of the difference)."""

LOOSE = {"sfmnet": 10}
"""Networks that amplify rounding, and how much more: SFMNet's phases turn where an amplitude is nearly 0."""


def error(found, expected) -> float:
    return float((found.detach().cpu().double() - expected.double()).norm() / expected.double().norm())


@pytest.fixture
def tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A network, its inputs, its output and gradient on the CPU, and a factor of the tolerances."""
    cfg = compose("train", [f"experiment={request.param}", "size=reduced", *NETWORKS[request.param]])
    torch.manual_seed(0)
    net = build_network(cfg.model).eval()
    inputs = [torch.rand(2, 3, 16, 16)]
    if net.uses_parsing:
        inputs.append(torch.rand(2, net.parsing_channels, 128, 128))
    sr = net(*inputs).sr
    sr.square().mean().backward()
    gradients = torch.cat([each.grad.flatten() for each in net.parameters() if each.grad is not None])
    net.zero_grad()
    return net, inputs, sr.detach(), gradients, LOOSE.get(request.param, 1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_networks(network, precision, device, tf32):
    net, inputs, expected, _, loose = network
    dtype, tolerance = PRECISIONS[precision]
    net.to(device, memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        if precision == "float32":
            with full_float32():
                found = net(*(each.to(device) for each in inputs)).sr
        else:
            found = net(*(each.to(device) for each in inputs)).sr
    assert error(found, expected) < tolerance * loose


def test_gradients(network, device):
    net, inputs, _, expected, loose = network
    net.to(device)
    with full_float32():
        net(*(each.to(device) for each in inputs)).sr.square().mean().backward()
    found = torch.cat([each.grad.flatten() for each in net.parameters() if each.grad is not None])
    net.zero_grad()
    assert error(found, expected) < 1e-3 * loose


def raw(**more) -> dict[str, torch.Tensor]:
    faces = [real_face(number) for number in range(6)]
    arrays = {"hr": [face.hr for face in faces], "parsing": [face.parsing for face in faces]}
    arrays["landmarks"] = [face.landmarks for face in faces]
    tensors = {name: torch.from_numpy(np.stack(each)) for name, each in arrays.items()}
    return {"row": torch.arange(6), "mirrored": torch.arange(6) % 2 == 0, **tensors, **more}


BATCHES = {
    **{f"parsing {name}": {"encoding": name} for name in ("colour", "onehot", "index")},
    **{f"maps {name}": {"parsing_damage": name} for name in ("shuffled", "displaced", "blurred")},
    **{f"heatmaps {name}": {"heatmaps": name} for name in ("landmarks", "components")},
    "matlab": {"degradation": "matlab"},
    "x4": {"scale": 4},
}
ROUNDED = {"parsing": 1e-6, "heatmaps": 1e-5}
"""Keys with float arithmetic, and their largest difference; all others are equal bit for bit."""


@pytest.mark.parametrize("case", BATCHES)
def test_batches(case, device):
    options = {"scale": 8, "degradation": "pil", "encoding": "colour", **BATCHES[case]}
    expected = prepare_batch(raw(), **options)
    with full_float32():
        found = prepare_batch({name: each.to(device) for name, each in raw().items()}, **options)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        exact = key not in ROUNDED or (key == "parsing" and "blurred" not in case)
        torch.testing.assert_close(found[key].cpu(), value, rtol=0, atol=0 if exact else ROUNDED[key])


@pytest.mark.parametrize("mode", ["pil", "matlab"])
def test_degradation_and_enlargement_bit_for_bit(mode, device):
    hr = (torch.rand(4, 3, 128, 128) * 255).round() / 255
    lr = degrade(hr, 8, mode)
    assert torch.equal(degrade(hr.to(device), 8, mode).cpu(), lr)
    assert torch.equal(enlarge(lr.to(device), 8, mode).cpu(), enlarge(lr, 8, mode))


def test_augmentation(device):
    """Interpolation differs by rounding, so a value may be one level off; maps differ where two labels are as near."""
    pytest.importorskip("kornia", exc_type=ImportError)
    augmentation = Augmentation(zoom_in=0.3, zoom_out=0.1, turn_deg=10, shift=0.1, colour=0.2)
    view = torch.from_numpy(augmentation.draw(6, np.random.default_rng(0)))
    options = {"scale": 8, "degradation": "pil", "encoding": "index", "heatmaps": "landmarks"}
    expected = prepare_batch(raw(view=view), **options)
    with full_float32():
        found = prepare_batch({name: each.to(device) for name, each in raw(view=view).items()}, **options)
    torch.testing.assert_close(found["hr"].cpu(), expected["hr"], rtol=0, atol=1.01 / 255)
    torch.testing.assert_close(found["heatmaps"].cpu(), expected["heatmaps"], rtol=0, atol=1e-4)
    assert (found["parsing"].cpu() != expected["parsing"]).double().mean() < 1e-3


def test_metrics(device):
    torch.manual_seed(0)
    hr = torch.from_numpy(np.stack([real_face(number).hr for number in range(4)])).permute(0, 3, 1, 2) / 255
    sr = (hr + 0.05 * torch.randn_like(hr)).clamp(0, 1)
    protocols = list(PROTOCOLS.values())
    with full_float32():
        pairs = zip(quality(sr.to(device), hr.to(device), protocols), quality(sr, hr, protocols), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found.psnr.cpu(), expected.psnr, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.ssim.cpu(), expected.ssim, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_parser(precision, device, tmp_path):
    """Untrained weights put many pixels near two classes; those may go either way."""
    torch.manual_seed(0)
    net = BiSeNet()
    torch.nn.init.normal_(net.conv_out.conv_out.weight)
    torch.save(net.state_dict(), tmp_path / "bisenet.pth")
    options = {"weights": str(tmp_path / "bisenet.pth"), "sha256": None, "input_px": 128, "repair_sides": False}
    faces = [real_face(number).hr for number in range(4)]
    maps = [
        np.stack(BiSeNetParser(**options, device=name, precision=chosen).parse(["a"] * 4, faces))
        for name, chosen in (("cpu", "float32"), (device.type, precision))
    ]
    assert len(np.unique(maps[0])) > 3
    assert (maps[0] == maps[1]).mean() > {"float32": 0.999, "float16": 0.98, "bfloat16": 0.9}[precision]
