"""BiSeNet: that the public weights fit it, its shapes, its class order, and that the parts it uses learn."""

import hashlib

import pytest
import torch

from pkdn_lightning.data.labels import LABELS, ORDERS
from pkdn_lightning.networks.bisenet import BISENET_LABELS, BiSeNet
from pkdn_lightning.networks.cost import count_parameters


@pytest.fixture(scope="module")
def net() -> BiSeNet:
    torch.manual_seed(0)
    return BiSeNet().eval()


def test_size(net):
    assert count_parameters(net) == 13_300_416


def test_tensors_are_those_of_the_public_weights(net):
    # From 79999_iter.pth itself: its 191 names and shapes, sorted, one a line.
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in net.state_dict().items())
    assert len(lines) == 191
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == (
        "3fbee299cf8e9aea98e8191ab6109a896e5a6e9a327f9ba3b7dd024092096823"
    )
    assert "cp.resnet.layer2.0.downsample.1.running_var (128,)" in lines
    assert "cp.arm32.conv_atten.weight (128, 128, 1, 1)" in lines
    assert "ffm.conv2.weight (256, 64, 1, 1)" in lines
    assert "conv_out16.conv_out.weight (19, 64, 1, 1)" in lines


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (72, 40)])
def test_shape(net, height, width):
    with torch.inference_mode():
        assert net(torch.rand(2, 3, height, width)).shape == (2, 19, height, width)


def test_faces_of_a_batch_do_not_influence_each_other(net):
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net(images)[1:2], net(images[1:2]), atol=1e-5, rtol=1e-4)


def test_main_head_learns_and_the_auxiliary_heads_are_not_computed():
    net = BiSeNet().train()
    net(torch.rand(2, 3, 64, 64)).square().mean().backward()
    without = {name for name, parameter in net.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in net.named_parameters() if name.startswith(("conv_out16.", "conv_out32."))}


def test_every_channel_goes_to_the_label_of_its_name():
    assert tuple(LABELS[label] for label in ORDERS["bisenet"]) == BISENET_LABELS
    assert sorted(ORDERS["bisenet"]) == list(range(19))
