"""The blocks: sizes published for 64 channels, shapes, and what each must do."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.networks import blocks
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher


@pytest.mark.parametrize(
    ("block", "parameters"),
    [
        (blocks.RCAB(64), 74_436),
        (blocks.Down(64), 147_520),
        (blocks.Up(64), 147_712),
        (blocks.PFB(64, 3), 139_472),
        (blocks.PFB(64, 3, "cbam", "cbam"), 121_447),
        (blocks.FFB(64), 149_840),
        (blocks.FFB(64, residual_blocks=1), 75_984),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_size(block, parameters):
    assert count_parameters(block) == parameters


def test_down_then_up_keep_the_order_of_pixels():
    """With convolutions that pass the shuffled channels through, going down and up again changes nothing."""
    down, up = blocks.Down(4), blocks.Up(4)
    x = torch.rand(1, 4, 8, 8)
    torch.testing.assert_close(nn.functional.pixel_shuffle(nn.functional.pixel_unshuffle(x, 2), 2), x)
    assert down(x).shape == (1, 4, 4, 4)
    assert up(x).shape == (1, 4, 16, 16)


def test_down_is_one_convolution_with_stride():
    down, x = blocks.Down(4), torch.rand(2, 4, 10, 12)
    torch.testing.assert_close(down.as_convolution()(x), down(x))


@pytest.mark.parametrize("kind", ["fish", "cbam", "rcan"])
def test_channel_attention_gates_each_channel_as_a_whole(kind):
    attention = blocks.ChannelAttention(16, kind)
    x = torch.rand(2, 16, 5, 7) + 0.1
    gate = attention(x) / x
    torch.testing.assert_close(gate, gate[..., :1, :1].expand_as(gate))
    assert ((gate > 0) & (gate < 1)).all()


def test_fish_attention_follows_its_formula():
    attention = blocks.ChannelAttention(8, "fish")
    x = torch.randn(2, 8, 4, 4)
    flat = x.flatten(2)
    statistics = [flat.mean(-1), flat.max(-1).values, ((flat - flat.mean(-1, keepdim=True)) ** 2).mean(-1)]
    squeeze, excite = attention.squeeze, attention.excite
    gate = sum(
        torch.relu(each @ squeeze.weight[:, :, 0, 0].T + squeeze.bias) @ excite.weight[:, :, 0, 0].T + excite.bias
        for each in statistics
    ).sigmoid()
    torch.testing.assert_close(attention(x), x * gate[..., None, None])


def test_cbam_spatial_attention_gates_each_pixel_as_a_whole():
    x = torch.rand(2, 6, 9, 9) + 0.1
    gate = blocks.CBAMSpatialAttention(6)(x) / x
    torch.testing.assert_close(gate, gate[:, :1].expand_as(gate))


def test_pfb_reads_the_map_where_the_face_is():
    """A change of the map in one corner changes the output there through the convolutions, at any map size."""
    block = blocks.PFB(8, 3)
    x, parsing = torch.rand(1, 8, 16, 16), torch.rand(1, 3, 64, 64)
    changed = parsing.clone()
    changed[..., :8, :8] = 1 - changed[..., :8, :8]
    difference = (block(x, changed) - block(x, parsing)).abs().sum(1)[0]
    assert difference[:2, :2].mean() > 10 * difference[8:, 8:].mean()


def test_pfb_is_residual():
    block = blocks.PFB(8, 3)
    nn.init.zeros_(block.fuse_attention.weight)
    nn.init.zeros_(block.fuse_attention.bias)
    x = torch.rand(1, 8, 16, 16)
    torch.testing.assert_close(block(x, torch.rand(1, 3, 16, 16)), x)


def test_ffb_skip_adds_the_feature_once_more():
    with_skip, without = blocks.FFB(8), blocks.FFB(8, skip=False)
    without.load_state_dict(with_skip.state_dict())
    x, retained = torch.rand(1, 8, 8, 8), torch.rand(1, 8, 8, 8)
    torch.testing.assert_close(with_skip(x, retained), without(x, retained) + x)


def test_pfb_without_attention_has_none():
    block = blocks.PFB(16, 3, "none", "none")
    assert not [name for name, _ in block.named_parameters() if "_attention." in name and not name.startswith("fuse")]
    plain = torch.rand(1, 16, 8, 8)
    assert torch.equal(block.channel_attention(plain), plain)
    assert torch.equal(block.spatial_attention(plain), plain)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    "make", [lambda: PKDNStudent(scale=4, width=8, levels=2), lambda: PKDNTeacher(scale=4, width=8, levels=2)]
)
def test_recomputing_changes_neither_gradients_nor_names_but_keeps_less(make, mixed):
    torch.manual_seed(0)
    net, frugal = make(), make()
    frugal.load_state_dict(net.state_dict())
    blocks.recompute_blocks(frugal)
    frugal = deepcopy(frugal)  # averaged weights are a copy
    inputs = [torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)][: 2 if net.uses_parsing else 1]
    kept = []
    for each in (net, frugal):
        sizes: dict[int, int] = {}

        def keep(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                output = each(*inputs)
                loss = output.sr.float().mean() + sum(
                    feature.float().square().mean() for feature in output.features.values()
                )
            kept.append(sum(sizes.values()))
        loss.backward()
    assert kept[1] < 0.6 * kept[0]
    for (name, own), (other, theirs) in zip(net.named_parameters(), frugal.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(own.grad, theirs.grad), name


def test_recomputing_needs_blocks():
    with pytest.raises(ConfigError, match=r"module\.recompute=true: Conv2d"):
        blocks.recompute_blocks(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_variance_is_torchs(layout):
    x = (100 + torch.randn(2, 8, 33, 17)).to(memory_format=layout)
    torch.testing.assert_close(
        blocks._POOLS["variance"](x), x.var((-2, -1), keepdim=True, unbiased=False), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("channels", "kind", "hidden"), [(64, "rcan", 4), (16, "rcan", 4), (8, "cbam", 4), (64, "fish", 16)]
)
def test_channel_attention_keeps_at_least_four_hidden_units(channels, kind, hidden):
    assert blocks.ChannelAttention(channels, kind).squeeze.out_channels == hidden
