"""RCAN: published size and cost, shapes, features, gradients, errors, and the public code's weights.

`Published`, which the tests of other networks import, stands for the state dict of public code.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.rcan import DIV2K_MEAN, RCAN, rename_published

SMALL = {"width": 16, "groups": 2, "blocks": 1}


class Published(dict):
    """A state dict that grows while a forward pass asks for its layers by their published names.

    Every value is random, so a tensor that lands in the wrong place changes the image.
    """

    def conv(self, name, x, channels, size=3, *, bias=True, groups=1, stride=1, padding=None):
        inputs = x.shape[1] // groups
        bound = 1 / math.sqrt(inputs * size**2)
        self._make(f"{name}.weight", x, (channels, inputs, size, size), bound)
        if bias:
            self._make(f"{name}.bias", x, (channels,), bound)
        padding = size // 2 if padding is None else padding
        return F.conv2d(x, self[f"{name}.weight"], self.get(f"{name}.bias"), stride, padding, groups=groups)

    def norm(self, name, x):
        for kind in ("weight", "bias", "running_mean", "running_var"):
            self._make(f"{name}.{kind}", x, (x.shape[1],), 1)
        self[f"{name}.running_var"] = self[f"{name}.running_var"].abs() + 0.5
        self.setdefault(f"{name}.num_batches_tracked", torch.tensor(len(self), device=x.device))
        mean, var, weight, bias = (self[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    def shift(self, name, x, sign, train_along=0.0):
        """A mean shift, away from its initial values by `train_along`."""
        self._make(f"{name}.weight", x, (3, 3, 1, 1), train_along)
        self._make(f"{name}.bias", x, (3,), train_along)
        self[f"{name}.weight"] += torch.eye(3).view(3, 3, 1, 1).to(x)
        self[f"{name}.bias"] += sign * 255 * torch.tensor(DIV2K_MEAN).to(x)
        return F.conv2d(x, self[f"{name}.weight"], self[f"{name}.bias"])

    def rcab(self, name, x):
        inner = self.conv(f"{name}.body.2", F.relu(self.conv(f"{name}.body.0", x, x.shape[1])), x.shape[1])
        gate = F.relu(self.conv(f"{name}.body.3.conv_du.0", inner.mean((2, 3), keepdim=True), x.shape[1] // 16, 1))
        return x + inner * self.conv(f"{name}.body.3.conv_du.2", gate, x.shape[1], 1).sigmoid()

    def _make(self, name, x, shape, spread):
        if name not in self:
            self[name] = spread * torch.randn(shape, dtype=x.dtype, device=x.device)


def published_rcan(state, lr, *, width, groups, blocks, train_along=0.0):
    """The public network as its paper and code describe it; fills `state` on the way."""
    head = x = state.conv("head.0", state.shift("sub_mean", lr * 255, -1, train_along), width)
    for group in range(groups):
        inner = x
        for block in range(blocks):
            inner = state.rcab(f"body.{group}.body.{block}", inner)
        x = x + state.conv(f"body.{group}.body.{blocks}", inner, width)
    x = head + state.conv(f"body.{groups}", x, width)
    for layer in (0, 2, 4):
        x = F.pixel_shuffle(state.conv(f"tail.0.{layer}", x, 4 * width), 2)
    return state.shift("add_mean", state.conv("tail.1", x, 3), 1, train_along) / 255


def learns_two_faces(net, *, lr_px=4, steps=25, rate=1e-3):
    """Returns the loss of each step."""
    lr = torch.rand(2, 3, lr_px, lr_px)
    hr = F.interpolate(lr, scale_factor=8, mode="nearest")
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        loss = (net(lr).sr - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def without_gradient(net, *inputs):
    """Returns the names of the parameters that the restored faces do not depend on."""
    net(*inputs).sr.sum().backward()
    return [name for name, value in net.named_parameters() if value.grad is None]


def test_size_and_cost():
    net = RCAN()
    assert count_parameters(net) == 15_740_067
    with torch.no_grad():
        assert count_macs(net, torch.rand(1, 3, 16, 16)) / 1e9 == pytest.approx(4.7004, abs=0.001)


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


def test_exports():
    net, lr = RCAN(**SMALL).eval(), torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(torch.export.export(net, (lr,)).module()(lr).sr, net(lr).sr)


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
