"""SPARNet: published sizes and cost, shapes, initialisation, gradients, errors, and the public code's weights."""

import pytest
import torch
from torch import nn

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.sparnet import SPARNet, rename_published
from tests.networks.conftest import learns_two_faces, without_gradient
from tests.networks.published import Published, published_sparnet

SMALL = {"width": 4, "max_width": 8, "res_depth": 1, "attention_width": 4}
LIGHT = {"attention": "spar3d", "res_depth": 1}
FEATURES = ["down1", "down2", "down3", "body", "up1", "up2", "up3"]


@pytest.mark.parametrize(
    ("options", "parameters", "giga"), [({}, 10_518_867, 7.130), (LIGHT, 5_242_211, 6.876)], ids=["released", "light"]
)
def test_size_and_cost(options, parameters, giga):
    with torch.device("meta"):
        net, lr = SPARNet(**options), torch.rand(1, 3, 16, 16)
    assert count_parameters(net) == parameters
    assert count_macs(net, lr) / 1e9 == pytest.approx(giga, abs=0.002)


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 16, 16), (8, 8, 12), (4, 16, 24)])
def test_shapes_and_features(scale, height, width):
    output = SPARNet(scale=scale, **SMALL)(torch.rand(2, 3, height, width))
    height, width = scale * height, scale * width
    assert output.sr.shape == (2, 3, height, width)
    assert list(output.features) == FEATURES
    shapes = [(feature.shape[1], feature.shape[2]) for feature in output.features.values()]
    assert shapes == [
        (8, height // 2),
        (8, height // 4),
        *[(8, height // 8)] * 2,
        (8, height // 4),
        (8, height // 2),
        (4, height),
    ]
    assert output.extras == {}


def test_initialised_as_published():
    torch.manual_seed(0)
    net = SPARNet(width=16, max_width=16, res_depth=1, attention_width=16)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15)
            assert module.bias is None or not module.bias.any()
    norms = torch.cat([module.weight for module in net.modules() if isinstance(module, nn.BatchNorm2d)])
    assert norms.mean().item() == pytest.approx(1, abs=0.01)
    assert norms.std().item() == pytest.approx(0.02, rel=0.15)


def test_every_parameter_gets_a_gradient():
    for attention in ("spar", "spar3d"):
        assert without_gradient(SPARNet(attention=attention, **SMALL), torch.rand(2, 3, 8, 8)) == []


@pytest.mark.slow
def test_it_learns_two_faces():
    torch.manual_seed(0)
    losses = learns_two_faces(SPARNet(**SMALL), lr_px=8, steps=15, rate=1e-2)
    assert losses[-1] < 0.9 * losses[0]


class TestErrors:
    def test_sides_that_do_not_divide(self):
        with pytest.raises(ShapeError, match="80x80, but the sides have to be divisible by 32"):
            SPARNet(**SMALL)(torch.rand(1, 3, 10, 10))

    def test_faces_too_small_for_the_hourglass(self):
        with pytest.raises(ShapeError, match="32x32, but SPARNet needs 64 pixels"):
            SPARNet(**SMALL)(torch.rand(1, 3, 4, 4))

    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            SPARNet(**SMALL)(torch.rand(1, 1, 16, 16))

    def test_attention(self):
        with pytest.raises(ConfigError, match="Unknown attention 'cbam'"):
            SPARNet(attention="cbam")

    def test_no_units(self):
        with pytest.raises(ConfigError, match="res_depth=0"):
            SPARNet(res_depth=0)


class TestPublishedWeights:
    @pytest.mark.parametrize("attention", ["spar", "spar3d"])
    def test_they_restore_the_same_faces(self, attention):
        torch.manual_seed(0)
        options = SMALL | {"attention": attention, "res_depth": 2}
        lr, state, net = torch.rand(1, 3, 8, 8).double(), Published(), SPARNet(**options).double().eval()
        expected = published_sparnet(state, bicubic(lr, (64, 64)) * 2 - 1, **options) / 2 + 0.5
        renamed = rename_published(state)
        net.load_state_dict(renamed)
        torch.testing.assert_close(net(lr).sr, expected, rtol=1e-9, atol=1e-9)
        counter = renamed["up.2.attention.hourglass.inner.inner.skip.norm.num_batches_tracked"]
        assert counter == state["decoder.2.att_func.b1_3.norm.norm.num_batches_tracked"]

    @pytest.mark.parametrize(("options", "tensors"), [({}, 1154), (LIGHT, 605)], ids=["released", "light"])
    def test_all_of_them_fit(self, options, tensors):
        state = Published()
        published_sparnet(state, torch.rand(1, 3, 64, 64), **options)
        assert len(state) == tensors
        SPARNet(**options).load_state_dict(
            rename_published({f"module.{name}": tensor for name, tensor in state.items()})
        )

    def test_others_are_refused(self):
        state = Published()
        published_sparnet(state, torch.rand(1, 3, 64, 64), **SMALL)
        assert rename_published({}) is None
        assert rename_published(state | {"encoder.1.conv1.weight": torch.zeros(1)}) is None
