"""FSRNet: sizes, cost, shapes, priors, errors, and whether it learns."""

import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.fsrnet import FSRNet


@pytest.mark.parametrize(
    ("options", "parameters", "giga"),
    [
        ({"parsing_classes": 11, "landmarks": 0}, 3_263_691, 15.280),  # the public port, with blocks of their own
        ({"parsing_classes": 11, "landmarks": 194}, 3_288_717, 15.382),  # the paper's priors
        ({}, 3_273_495, 15.320),
        pytest.param({"decoder_prior": "maps"}, 3_249_879, 15.223, marks=pytest.mark.slow),
        pytest.param({"parsing_classes": 0, "landmarks": 0}, 3_262_272, 15.274, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_size_and_cost(options, parameters, giga):
    with torch.device("meta"):
        net, lr = FSRNet(**options), torch.rand(1, 3, 16, 16)
    assert count_parameters(net) == parameters
    assert count_macs(net, lr) / 1e9 == pytest.approx(giga, abs=0.002)


@pytest.mark.parametrize(("scale", "lr_px"), [(8, 4), (4, 8), (8, 2)])
def test_shapes(scale, lr_px):
    output = FSRNet(scale=scale, width=4)(torch.rand(2, 3, lr_px, 2 * lr_px))
    height, width = scale * lr_px, scale * 2 * lr_px
    assert output.sr.shape == (2, 3, height, width)
    assert {name: value.shape for name, value in output.features.items()} == {
        "coarse": (2, 4, height, width),
        "encoder": (2, 4, height // 2, width // 2),
        "prior": (2, 8, height // 2, width // 2),
        "decoder": (2, 4, height, width),
    }
    assert {name: value.shape for name, value in output.extras.items()} == {
        "coarse": (2, 3, height, width),
        "parsing": (2, 19, height // 2, width // 2),
        "heatmaps": (2, 68, height // 2, width // 2),
    }


@pytest.mark.parametrize("decoder_prior", ["features", "maps"])
def test_priors_can_be_left_out(decoder_prior):
    lr = torch.rand(2, 3, 2, 2)
    output = FSRNet(width=4, landmarks=0, parsing_classes=3, decoder_prior=decoder_prior)(lr)
    assert list(output.extras) == ["coarse", "parsing"]
    output = FSRNet(width=4, landmarks=5, parsing_classes=0, decoder_prior=decoder_prior)(lr)
    assert list(output.extras) == ["coarse", "heatmaps"]


def test_faces_are_between_zero_and_one():
    output = FSRNet(width=4)(3 * torch.randn(2, 3, 2, 2))
    for faces in (output.sr, output.extras["coarse"]):
        assert faces.min() >= 0
        assert faces.max() <= 1


def test_works_between_minus_one_and_one():
    net = FSRNet(width=4).eval()
    seen = []
    net.coarse.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(torch.zeros(1, 3, 2, 2))
    net(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(torch.stack(seen).mean((1, 2, 3, 4)), torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("decoder_prior", ["features", "maps"])
def test_the_maps_matter_to_the_face_where_they_are_read(decoder_prior):
    net = FSRNet(width=4, decoder_prior=decoder_prior).eval()
    lr = torch.rand(1, 3, 2, 2)
    before = net(lr).sr
    with torch.no_grad():
        net.prior_heads["heatmaps"].bias += 1
    assert torch.equal(net(lr).sr, before) == (decoder_prior == "features")


@pytest.mark.parametrize("decoder_prior", ["features", "maps"])
def test_every_parameter_gets_a_gradient(decoder_prior):
    net = FSRNet(width=4, decoder_prior=decoder_prior)
    output = net(torch.rand(2, 3, 4, 4))
    (output.sr.sum() + sum(extra.sum() for extra in output.extras.values())).backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


def test_blocks_have_weights_of_their_own():
    blocks = FSRNet(width=4).encoder[1:13]
    assert len({id(block.conv_in.weight) for block in blocks}) == 12


def test_learns_two_faces_and_their_priors():
    torch.manual_seed(0)
    net = FSRNet(width=8, parsing_classes=3, landmarks=5)
    lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 32, 32)
    targets = {"coarse": hr, "parsing": torch.rand(2, 3, 16, 16), "heatmaps": torch.rand(2, 5, 16, 16)}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        output = net(lr)
        loss = (output.sr - hr).square().mean()
        loss = loss + sum((output.extras[name] - target).square().mean() for name, target in targets.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width=0 have to be 1 or more"),
        ({"landmarks": -1}, "landmarks=-1 0 or more"),
        ({"decoder_prior": "both"}, "found 'both'"),
        ({"decoder_prior": "maps", "parsing_classes": 0, "landmarks": 0}, "both are 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        FSRNet(**options)


def test_sides_that_do_not_divide():
    with pytest.raises(ShapeError, match="24x24, but the sides have to be divisible by 16"):
        FSRNet(width=4)(torch.rand(1, 3, 3, 3))


def test_it_is_configured_without_priors():
    net = build_network(compose("info", ["model=fsrnet", "model.parsing_classes=0", "model.landmarks=0"]).model)
    assert net(torch.rand(1, 3, 8, 8)).extras.keys() == {"coarse"}
