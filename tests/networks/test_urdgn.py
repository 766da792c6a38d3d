"""UR-DGN: published size and cost, shapes, features, the discriminator, errors, and whether it learns."""

import pytest
import torch
import torch.nn.functional as F

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.urdgn import URDGN, URDGNDiscriminator

SMALL = (4, 4, 4, 4)


def test_size_and_cost():
    net = URDGN()
    assert count_parameters(net) == 1_054_243
    part = count_macs(net, torch.rand(1, 3, 4, 4))  # a sixteenth, as all layers are convolutions
    assert 16 * part / 1e9 == pytest.approx(14.585, abs=0.001)
    assert count_parameters(URDGNDiscriminator()) == 6_859_425


@pytest.mark.parametrize(("scale", "widths"), [(8, SMALL), (4, (4, 6, 5)), (16, (4, 4, 4, 4, 4)), (1, (4,))])
def test_shapes_and_features(scale, widths):
    output = URDGN(scale=scale, widths=widths)(torch.rand(2, 3, 5, 6))
    assert output.sr.shape == (2, 3, 5 * scale, 6 * scale)
    assert {name: value.shape for name, value in output.features.items()} == {
        f"stage{number}": (2, width, 5 * 2 ** (number - 1), 6 * 2 ** (number - 1))
        for number, width in enumerate(widths, start=1)
    }
    assert output.extras == {}


def test_works_between_minus_one_and_one():
    net = URDGN(widths=SMALL)
    seen = []
    net.stages[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.nn.init.zeros_(net.tail.weight)
    torch.nn.init.zeros_(net.tail.bias)
    lr = torch.tensor([0.0, 0.5, 1.0, 1.0]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert net(lr).sr.unique().tolist() == [0.5]
    assert seen[0].unique().tolist() == [-1, 0, 1]


def test_every_parameter_gets_a_gradient():
    net, judge = URDGN(widths=SMALL), URDGNDiscriminator(size_px=32)
    judge(net(torch.rand(2, 3, 4, 4)).sr).sum().backward()
    for part in (net, judge):
        assert [name for name, value in part.named_parameters() if value.grad is None] == []


def test_learns_two_faces():
    torch.manual_seed(0)
    net = URDGN(widths=(8, 8, 8, 8))
    lr = torch.rand(2, 3, 4, 4)
    hr = F.interpolate(lr, scale_factor=8)  # noise it could not learn: what it sees is 4x4
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (net(lr).sr - hr).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


class TestDiscriminator:
    @pytest.mark.parametrize("size_px", [16, 48])
    def test_one_logit_per_image(self, size_px):
        assert URDGNDiscriminator(size_px=size_px)(torch.rand(2, 3, size_px, size_px)).shape == (2, 1)

    def test_drops_out_while_training_alone(self):
        net, images = URDGNDiscriminator(size_px=16), torch.rand(1, 3, 16, 16)
        assert not torch.equal(net(images), net(images))
        net.eval()
        assert torch.equal(net(images), net(images))

    def test_learns_to_tell_two_images_apart(self):
        torch.manual_seed(0)
        net = URDGNDiscriminator(size_px=16)
        images, labels = torch.rand(2, 3, 16, 16), torch.tensor([[0.0], [1.0]])
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
        for _ in range(30):
            loss = F.binary_cross_entropy_with_logits(net(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        real = net.eval()(images).sigmoid().flatten()
        assert real[0] < 0.5 < real[1]

    def test_images_of_another_size(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, 16, 16\), got \(1, 3, 32, 32\)"):
            URDGNDiscriminator(size_px=16)(torch.rand(1, 3, 32, 32))

    def test_a_size_that_does_not_divide(self):
        with pytest.raises(ConfigError, match="multiple of 16, found 100"):
            URDGNDiscriminator(size_px=100)


class TestErrors:
    @pytest.mark.parametrize("options", [{"scale": 4}, {"widths": (4, 4)}, {"widths": ()}])
    def test_widths_that_do_not_make_the_scale(self, options):
        with pytest.raises(ConfigError, match="does not make scale="):
            URDGN(**options)

    def test_grey_input(self):
        with pytest.raises(ShapeError, match=r"\(B, 3, H, W\)"):
            URDGN(widths=SMALL)(torch.rand(1, 1, 16, 16))
