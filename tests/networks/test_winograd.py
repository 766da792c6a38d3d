"""Winograd's convolutions compute what direct ones compute."""

import pytest
import torch
from torch import nn

from pkdn_lightning.networks.bisenet import BiSeNet
from pkdn_lightning.networks.winograd import Winograd, faster_on_cpus


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sides", [(8, 12), (4, 4), (6, 8)])  # the last is no multiple of 4: computed directly
def test_it_is_the_convolution(bias, sides):
    torch.manual_seed(0)
    conv = nn.Conv2d(128, 5, kernel_size=3, padding=1, bias=bias).double()
    x = torch.rand(2, 128, *sides, dtype=torch.float64)
    torch.testing.assert_close(Winograd(conv)(x), conv(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding": 0}, {"padding_mode": "reflect"}]
)
def test_other_convolutions_stay(options):
    assert Winograd.replaces(nn.Conv2d(128, 128, kernel_size=3, padding=1))
    assert not Winograd.replaces(nn.Conv2d(128, 128, **({"kernel_size": 3, "padding": 1} | options)))
    assert not Winograd.replaces(nn.Conv2d(64, 64, kernel_size=3, padding=1))


def test_a_network_is_the_same_up_to_rounding():
    torch.manual_seed(0)
    net = BiSeNet().eval()
    for norm in (each for each in net.modules() if isinstance(each, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    faster, x = faster_on_cpus(net), torch.rand(1, 3, 128, 128)
    assert sum(isinstance(each, Winograd) for each in faster.modules()) == 14
    assert not any(isinstance(each, nn.BatchNorm2d) for each in faster.modules())
    with torch.inference_mode():
        expected = net(x)
        torch.testing.assert_close(faster(x), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
