"""SISN: published size and cost, the head's shortcut, shapes, gradients, errors, and the public code's weights."""

import pytest
import torch
import torch.nn.functional as F

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.sisn import SISN, FoldedHead, rename_published
from tests.networks.conftest import learns_two_faces, without_gradient
from tests.networks.published import Published, published_sisn, space_to_depth

SMALL = {"width": 8, "groups": 2, "blocks": 1}


def test_size_and_cost():
    with torch.device("meta"):
        net, lr = SISN().eval(), torch.rand(1, 3, 16, 16)
    assert count_parameters(net) == 8_755_035 - 450_560 - 24  # unused convolutions, mean shifts
    assert count_macs(net, lr) / 1e9 == pytest.approx(2.2245, abs=0.001)


@pytest.mark.parametrize("scale", [2, 8])
def test_the_head_sees_what_enlarging_and_folding_would_give(scale):
    lr, head = torch.rand(2, 3, 5, 7), FoldedHead(scale, 4)
    folded = space_to_depth(F.interpolate(lr, scale_factor=scale, mode="nearest"), scale)
    assert torch.equal(head(lr), head.conv(folded))


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 16, 16), (8, 5, 7), (4, 8, 4)])
def test_shapes_and_features(scale, height, width):
    output = SISN(scale=scale, **SMALL)(torch.rand(2, 3, height, width))
    assert output.sr.shape == (2, 3, scale * height, scale * width)
    ups = ["up1", "up2", "up3"] if scale == 8 else ["up1", "up2"]
    assert list(output.features) == ["head", "group1", "group2", "body", *ups]
    assert output.features["group2"].shape == (2, 8, height, width)
    assert output.extras == {}


def test_every_parameter_gets_a_gradient():
    assert without_gradient(SISN(**SMALL), torch.rand(2, 3, 8, 8)) == []


def test_it_learns_two_faces():
    torch.manual_seed(0)
    losses = learns_two_faces(SISN(**SMALL))
    assert losses[-1] < 0.9 * losses[0]


class TestErrors:
    def test_training_on_one_face(self):
        net = SISN(**SMALL)
        with pytest.raises(ShapeError, match="batch of 1 face"):
            net(torch.rand(1, 3, 8, 8))
        assert net.eval()(torch.rand(1, 3, 8, 8)).sr.shape == (1, 3, 64, 64)

    def test_scale(self):
        with pytest.raises(ConfigError, match="power of 2"):
            SISN(scale=3)

    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            SISN(**SMALL)(torch.rand(2, 1, 16, 16))


class TestPublishedWeights:
    @pytest.mark.parametrize("train_along", [0.0, 0.05], ids=["fixed shifts", "trained shifts"])
    def test_they_restore_the_same_faces(self, train_along):
        torch.manual_seed(0)
        lr, state, net = torch.rand(2, 3, 6, 6).double(), Published(), SISN(**SMALL).double().eval()
        expected = published_sisn(state, lr, **SMALL, train_along=train_along)
        renamed = rename_published(state)
        net.load_state_dict(renamed)
        torch.testing.assert_close(net(lr).sr, expected, rtol=1e-9, atol=1e-9)
        counter = renamed["groups.1.skip.attention.squeeze_norm.num_batches_tracked"]
        assert counter == state["body.1.IA.conv2.bn1.num_batches_tracked"]

    def test_all_of_them_fit(self):
        state = Published()
        published_sisn(state, torch.rand(1, 3, 2, 2), width=64, groups=10, blocks=10)
        assert len(state) == 110 * (3 + 4 + 4 * 5 + 1) + 2 * (10 + 1 + 1 + 4) + 4
        SISN().load_state_dict(rename_published({f"module.{name}": tensor for name, tensor in state.items()}))

    def test_others_are_refused(self):
        state = Published()
        published_sisn(state, torch.rand(1, 3, 4, 4), **SMALL)
        assert rename_published({}) is None
        assert rename_published(state | {"body.0.body.0.body.0.weight": torch.zeros(1)}) is None
