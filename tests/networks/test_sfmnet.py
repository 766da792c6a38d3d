"""SFMNet: published size and cost, shapes, what meets what, published names, whether it learns, export, errors."""

import math

import pytest
import torch

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.sfmnet import ChannelCrossAttention, FrequencyBlock, SFMNet, rename_published
from tests.networks.published import published_shapes

LEVELS = ["down1", "down2", "down3", "bottleneck", "up1", "up2", "up3"]
AS_BUILT = 8_799_622  # the public code's, with 14 attentions that it never uses and that are used here
NEVER_USED = 14 * 18_120


@pytest.fixture(scope="module")
def unfilled() -> SFMNet:
    with torch.device("meta"):
        return SFMNet(shared_attention=True)


def small(**options) -> SFMNet:
    torch.manual_seed(0)
    return SFMNet(**({"width": 4, "blocks": 1, "heads": 2} | options))


def test_size(unfilled):
    assert count_parameters(unfilled) == 8_545_942 == AS_BUILT - NEVER_USED
    with torch.device("meta"):
        assert count_parameters(SFMNet()) == AS_BUILT
    assert count_parameters(ChannelCrossAttention(64, heads=8)) == 18_120
    assert count_parameters(unfilled.frequency) + count_parameters(unfilled.spatial) == count_parameters(unfilled)


def test_cost(unfilled):
    # Fourier transforms are not counted, the enlargement is.
    assert count_macs(unfilled, torch.rand(1, 3, 16, 16, device="meta")) / 1e9 == pytest.approx(30.69, abs=0.005)


@pytest.mark.parametrize(("scale", "height", "width"), [(8, 2, 3), (4, 6, 4), (1, 16, 8)])
def test_shapes_and_features(scale, height, width):
    output = small(scale=scale)(torch.rand(2, 3, height, width))
    top = (height * scale, width * scale)
    assert output.sr.shape == output.extras["frequency"].shape == (2, 3, *top)
    assert list(output.extras) == ["frequency"]
    assert list(output.features) == LEVELS + [f"frequency_{level}" for level in LEVELS]
    for level, halved in zip(LEVELS, (2, 4, 8, 8, 4, 2, 1), strict=True):
        for name in (level, f"frequency_{level}"):
            assert output.features[name].shape == (2, 4, top[0] // halved, top[1] // halved)


def test_the_frequency_branch_informs_the_spatial_one_and_not_the_other_way_round():
    net, lr = small(), torch.rand(1, 3, 2, 2)
    output = net(lr)
    output.sr.sum().backward()
    # Each branch restores a face of its own: the tails alone do not meet.
    without = [name for name, value in net.named_parameters() if value.grad is None]
    assert without == ["frequency.tail.0.weight", "frequency.tail.1.weight"]
    net.zero_grad(set_to_none=True)
    net(lr).extras["frequency"].sum().backward()
    assert not any(value.grad is not None for value in net.spatial.parameters())
    assert all(value.grad is not None for value in net.frequency.parameters())


def test_a_frequency_block_that_refines_nothing_gives_back_what_it_was_given():
    block = FrequencyBlock(4)
    for part in (block.amplitude[2], block.phase[2], block.project_in, block.project_out):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    for part in (block.project_in, block.project_out):
        torch.nn.init.dirac_(part.weight)
    x = torch.randn(2, 4, 6, 10)
    torch.testing.assert_close(block(x), x + x.abs(), atol=1e-5, rtol=1e-5)


def test_a_frequency_block_sees_the_whole_image():
    torch.manual_seed(0)
    x = torch.rand(1, 4, 16, 16, requires_grad=True)
    FrequencyBlock(4)(x)[..., 0, 0].sum().backward()
    assert (x.grad != 0).all()


def test_gradients_of_negative_amplitudes():
    torch.manual_seed(0)
    block = FrequencyBlock(2).double()
    torch.nn.init.constant_(block.amplitude[2].bias, -5.0)  # torch.polar would give gradients of the wrong sign
    assert torch.autograd.gradcheck(block, torch.rand(1, 2, 4, 4, dtype=torch.float64, requires_grad=True))


def test_fourier_transforms_in_float32_under_autocast():
    net, lr = small(), torch.rand(1, 3, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = net(lr.contiguous(memory_format=torch.channels_last))
    assert output.sr.isfinite().all()


def test_learns_two_faces():
    net = small(width=8)
    lr, hr = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 16, 16)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(6):
        output = net(lr)
        loss = (output.sr - hr).abs().mean() + (output.extras["frequency"] - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


class TestErrors:
    def test_sides_that_do_not_divide(self):
        with pytest.raises(ShapeError, match="12x12, but the sides have to be divisible by 8"):
            small(scale=4)(torch.rand(1, 3, 3, 3))

    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            small()(torch.rand(1, 1, 16, 16))

    @pytest.mark.parametrize("options", [{"heads": 3}, {"blocks": 0}, {"scale": 0}], ids=str)
    def test_numbers_that_make_no_network(self, options):
        with pytest.raises(ConfigError, match="multiple of heads"):
            small(**options)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    shapes = published_shapes()
    assert sum(math.prod(shape) for shape in shapes.values()) == AS_BUILT
    return {name: torch.tensor(float(number)).expand(shape) for number, (name, shape) in enumerate(shapes.items())}


class TestPublishedNames:
    # One of each kind: the public name, and where its tensor belongs.
    PLACES = {
        "head.0.layers.weight": "spatial.head.0.weight",
        "tail_fre.0.act.weight": "frequency.tail.1.weight",
        "down2.0.layers.0.layers.weight": "spatial.resample.down2.0.weight",
        "down2_fre.0.layers.2.layers.weight": "frequency.resample.down2.2.weight",
        "up3_fre.0.0.bias": "frequency.resample.up3.0.bias",
        "up1.0.2.weight": "spatial.resample.up1.2.weight",
        "down1.1.body.0.layers.1.layers.weight": "spatial.first.down1.body.0.conv_out.weight",
        "down1_mo.0.body.1.layers.0.layers.weight": "spatial.second.down1.body.1.conv_in.weight",
        "neck.0.body.2.layers.weight": "spatial.first.bottleneck.body.2.weight",
        "neck_mo.0.body.2.act.weight": "spatial.second.bottleneck.body.3.weight",
        "up2_mo.0.re_scale.scale": "spatial.second.up2.scale",
        "up2_fre.1.fpre.weight": "frequency.first.up2.project_in.weight",
        "neck_fre.0.post.bias": "frequency.first.bottleneck.project_out.bias",
        "down3_fre_mo.0.amp_fuse.0.weight": "frequency.second.down3.amplitude.0.weight",
        "neck_fre_mo.0.pha_fuse.2.bias": "frequency.second.bottleneck.phase.2.bias",
        "conv_fuse.3.fre.weight": "spatial.fusion.3.spatial.weight",
        "conv_fuse.3.spa.weight": "spatial.fusion.3.frequency.weight",
        "conv_fuse.0.fre_att.temperature": "spatial.fusion.0.attention.temperature",
        "conv_fuse.0.fre_att.q.weight": "spatial.fusion.0.attention.query.weight",
        "conv_fuse.0.fre_att.q_dwconv.weight": "spatial.fusion.0.attention.query_depthwise.weight",
        "conv_fuse.0.fre_att.kv.weight": "spatial.fusion.0.attention.key_value.weight",
        "conv_fuse.0.fre_att.kv_dwconv.weight": "spatial.fusion.0.attention.key_value_depthwise.weight",
        "conv_fuse.0.fre_att.project_out.weight": "spatial.fusion.0.attention.project.weight",
        "conv_fuse.13.fuse.0.weight": "spatial.fusion.13.gates.0.weight",
        "conv_fuse.13.fuse.1.bias": "spatial.fusion.13.gates.1.bias",
    }

    @pytest.mark.parametrize("prefix", ["", "module.", "model."])
    def test_every_tensor_finds_its_place(self, state, unfilled, prefix):
        renamed = rename_published({prefix + name: value for name, value in state.items()})
        expected = {name: value.shape for name, value in unfilled.state_dict().items()}
        assert {name: value.shape for name, value in renamed.items()} == expected
        assert len(state) - len(renamed) == 14 * 6  # the attentions that are never used
        assert len({value.flatten()[0].item() for value in renamed.values()}) == len(renamed)
        for public, name in self.PLACES.items():
            assert renamed[name] is state[public]

    def test_of_another_network_or_not_whole(self, state):
        assert rename_published({}) is None
        assert rename_published({"head.0.weight": torch.zeros(64, 3, 3, 3)}) is None
        assert rename_published({name: value for name, value in state.items() if "up3_mo" not in name}) is None
        assert rename_published(state | {"more.weight": torch.zeros(1)}) is None
