"""Channels-last memory format behind every block of every network, as on a GPU (on a pretended one)."""

import pytest
import torch
import torch.nn.functional as F

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.functional.memory_format import shuffled_channels_last, unshuffled_channels_last
from tests.fake_cuda import DEVICE, cuda_device, in_channels_last, recorded
from tests.test_methods import SMALL

OWN = {"dic": ["model.keypoints=5"], "fsrnet": ["model.landmarks=5"]}  # rather than as the data have them
NETWORKS = {
    "student": ["model.width=8", "model.rcabs_per_level=1"],
    "teacher": ["model.width=8"],
    **{name: [*small, *OWN.get(name, ())] for name, small in SMALL.items() if not name.endswith("gan")},
}


LONG = ("dic", "fishfsrnet", "fsrnet", "sfmnet", "sparnet")


@pytest.mark.parametrize(
    "experiment", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in NETWORKS]
)
def test_the_format_survives_every_block(experiment, monkeypatch):
    cfg = compose("train", [f"experiment={experiment}", *NETWORKS[experiment]])
    with cuda_device(monkeypatch):
        net = build_network(cfg.model).to(memory_format=torch.channels_last)
        lost = {}

        def note(name):
            def hook(module, inputs, output):
                several = isinstance(output, torch.Tensor) and output.dim() == 4 and min(output.shape[1:]) > 1
                given = [x for x in inputs if isinstance(x, torch.Tensor) and x.dim() == 4]
                if several and not in_channels_last(output):
                    lost[name] = type(module).__name__, [in_channels_last(x) for x in given]

            return hook

        for name, module in net.named_modules():
            module.register_forward_hook(note(name))
        images = [torch.rand(2, 3, 16, 16)]
        if net.uses_parsing:
            images.append(torch.rand(2, net.parsing_channels, 128, 128))
        with recorded():
            net.to(DEVICE)
            net(*(x.to(memory_format=torch.channels_last).to(DEVICE) for x in images))
    assert not lost


@pytest.mark.parametrize("factor", [2, 3])
def test_shuffles_equal_those_of_torch(factor):
    x = torch.rand(2, 36, 6, 12).to(memory_format=torch.channels_last)
    for own, other in ((shuffled_channels_last, F.pixel_shuffle), (unshuffled_channels_last, F.pixel_unshuffle)):
        assert torch.equal(own(x, factor), other(x, factor))
        assert in_channels_last(own(x, factor))
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        for function, each in zip((own, other), inputs, strict=True):
            (function(each, factor) * torch.arange(12.0)[:1]).square().sum().backward()
        assert torch.equal(*(each.grad for each in inputs))
