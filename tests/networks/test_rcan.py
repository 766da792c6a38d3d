"""RCAN: published size and cost, shapes, features, gradients, errors, and the public code's weights.

`Published`, which the tests of other networks import, stands for the state dict of public code.
"""

import math

import pytest
import torch

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.rcan import DIV2K_MEAN, RCAN, rename_published
from tests.networks.conftest import learns_two_faces, without_gradient
from tests.networks.published import Published, published_rcan

SMALL = {"width": 16, "groups": 2, "blocks": 1}


def test_size_and_cost():
    with torch.device("meta"):
        net, lr = RCAN(), torch.rand(1, 3, 16, 16)
    assert count_parameters(net) == 15_740_067
    assert count_macs(net, lr) / 1e9 == pytest.approx(4.7004, abs=0.001)


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 16, 16), (8, 5, 7), (2, 16, 8), (1, 4, 4)])
def test_shapes_and_features(scale, height, width):
    output = RCAN(scale=scale, **SMALL)(torch.rand(2, 3, height, width))
    assert output.sr.shape == (2, 3, scale * height, scale * width)
    doublings = [f"up{number}" for number in range(1, int(math.log2(scale)) + 1)]
    assert list(output.features) == ["head", "group1", "group2", "body", *doublings]
    assert output.features["body"].shape == (2, 16, height, width)
    for number, name in enumerate(doublings, start=1):
        assert output.features[name].shape == (2, 16, 2**number * height, 2**number * width)
    assert output.extras == {}


def test_every_parameter_gets_a_gradient():
    assert without_gradient(RCAN(**SMALL), torch.rand(2, 3, 8, 8)) == []


def test_it_learns_two_faces():
    torch.manual_seed(0)
    losses = learns_two_faces(RCAN(**SMALL))
    assert losses[-1] < 0.9 * losses[0]


class TestErrors:
    @pytest.mark.parametrize("scale", [0, 3, 6])
    def test_scale(self, scale):
        with pytest.raises(ConfigError, match="power of 2"):
            RCAN(scale=scale)

    def test_groups(self):
        with pytest.raises(ConfigError, match="groups=0"):
            RCAN(groups=0)

    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            RCAN(**SMALL)(torch.rand(1, 1, 16, 16))


class TestPublishedWeights:
    @pytest.mark.parametrize("train_along", [0.0, 0.05], ids=["fixed shifts", "trained shifts"])
    def test_they_restore_the_same_faces(self, train_along):
        torch.manual_seed(0)
        lr, state, net = torch.rand(2, 3, 6, 6).double(), Published(), RCAN(**SMALL).double()
        expected = published_rcan(state, lr, **SMALL, train_along=train_along)
        net.load_state_dict(rename_published(state))
        torch.testing.assert_close(net(lr).sr, expected, rtol=1e-9, atol=1e-9)

    def test_fixed_shifts_change_nothing(self):
        state = Published()
        published_rcan(state, torch.rand(1, 3, 4, 4), **SMALL)
        renamed = rename_published(state)
        for name, published in {"head.weight": "head.0.weight", "tail.weight": "tail.1.weight"}.items():
            torch.testing.assert_close(renamed[name], state[published], rtol=0, atol=1e-9)
        torch.testing.assert_close(renamed["tail.bias"], state["tail.1.bias"], rtol=0, atol=1e-4)  # of 255
        torch.testing.assert_close(renamed["mean"].flatten(), torch.tensor(DIV2K_MEAN))

    def test_all_of_them_fit(self):
        state = Published()
        published_rcan(state, torch.rand(1, 3, 2, 2), width=64, groups=10, blocks=20)
        assert len(state) == 2 * (200 * 4 + 10 + 1 + 1 + 4) + 4
        assert sum(tensor.numel() for tensor in state.values()) == 15_740_091
        RCAN().load_state_dict(rename_published(state))

    @pytest.mark.parametrize("prefix", ["module.", "model.", "module.model."])
    def test_prefixes_do_not_count(self, prefix):
        state = Published()
        published_rcan(state, torch.rand(1, 3, 4, 4), **SMALL)
        prefixed = rename_published({prefix + name: tensor for name, tensor in state.items()})
        assert prefixed.keys() == rename_published(state).keys()

    def test_others_are_refused(self):
        state = Published()
        published_rcan(state, torch.rand(1, 3, 4, 4), **SMALL)
        assert rename_published({}) is None
        assert rename_published(state | {"body.0.conv1.weight": torch.zeros(1)}) is None
        plain = {name: tensor for name, tensor in state.items() if "conv_du" not in name and ".body.0.body" not in name}
        assert rename_published(plain) is None  # such are EDSR's names
