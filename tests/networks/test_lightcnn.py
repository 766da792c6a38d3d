"""Light CNN: published size, cost and weights of DICGAN's discriminator and features, and whether it learns."""

import pytest
import torch
import torch.nn.functional as F

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.networks.dic import RGB_MEAN
from pkdn_lightning.networks.lightcnn import LightCNNDiscriminator, LightCNNFeatures, MaxFeatureMap, rename_published


def test_size_and_cost():
    net = LightCNNDiscriminator()
    assert count_parameters(net) == 5_485_921
    assert count_parameters(net.features) == 1_290_848
    assert count_macs(net, torch.rand(1, 3, 128, 128)) / 1e9 == pytest.approx(1.055, abs=0.001)


@pytest.mark.parametrize("size_px", [16, 32, 48])
def test_one_logit_per_image(size_px):
    assert LightCNNDiscriminator(size_px=size_px)(torch.rand(2, 3, size_px, size_px)).shape == (2, 1)


def test_features_of_any_size():
    net = LightCNNFeatures()
    assert net(torch.rand(2, 3, 32, 64)).shape == (2, net.channels, 2, 4)
    assert net(torch.rand(1, 3, 17, 33)).shape == (1, net.channels, 2, 3)  # pools round up


def test_the_mean_colour_is_subtracted():
    net = LightCNNFeatures()
    seen = []
    net.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    net(torch.tensor(RGB_MEAN).view(1, 3, 1, 1).expand(1, 3, 16, 16))
    assert seen[0].abs().max() == 0
    assert "mean" not in net.state_dict()


def test_max_feature_map_compares_first_and_second_half():
    assert MaxFeatureMap(torch.nn.Identity())(torch.tensor([[1.0, 5.0, 3.0, 2.0]])).tolist() == [[3.0, 5.0]]


def test_every_parameter_gets_a_gradient():
    net = LightCNNDiscriminator(size_px=16)
    net(torch.rand(2, 3, 16, 16)).sum().backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []


def test_learns_to_tell_two_images_apart():
    torch.manual_seed(0)
    net = LightCNNDiscriminator(size_px=16)
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([[0.0], [1.0]])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    losses = []
    for _ in range(8):
        loss = F.binary_cross_entropy_with_logits(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_exports():
    net = LightCNNDiscriminator(size_px=16).eval()
    images = torch.rand(2, 3, 16, 16)
    program = torch.export.export(net, (images,))
    torch.testing.assert_close(program.module()(images), net(images))


def test_errors():
    with pytest.raises(ConfigError, match="multiple of 16, found 100"):
        LightCNNDiscriminator(size_px=100)
    with pytest.raises(ShapeError, match=r"\(B, 3, 16, 16\), got \(1, 3, 32, 32\)"):
        LightCNNDiscriminator(size_px=16)(torch.rand(1, 3, 32, 32))


FEATURES = {
    "features.0.filter": (96, 3, 5, 5),
    "features.2.conv_a.filter": (96, 48, 1, 1),
    "features.2.conv.filter": (192, 48, 3, 3),
    "features.4.conv_a.filter": (192, 96, 1, 1),
    "features.4.conv.filter": (384, 96, 3, 3),
    "features.6.conv_a.filter": (384, 192, 1, 1),
    "features.6.conv.filter": (256, 192, 3, 3),
    "features.7.conv_a.filter": (256, 128, 1, 1),
    "features.7.conv.filter": (256, 128, 3, 3),
}
PLACES = {
    "features.0.filter": "layers.0.layer",
    **{
        f"features.{index}.{public}.filter": f"layers.{index}.{ours}.layer"
        for index in (2, 4, 6, 7)
        for public, ours in (("conv_a", 0), ("conv", 1))
    },
}
CLASSIFIER = {"classifier.0.filter": (512, 8192), "classifier.2": (1, 256)}


def published_state(layers: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, torch.Tensor]:
    """The public code's names and shapes; weights are filled with their own number, biases with that plus 0.5."""
    state = {}
    for number, (name, shape) in enumerate(layers.items()):
        state[f"{prefix}{name}.weight"] = torch.tensor(float(number)).expand(shape)
        state[f"{prefix}{name}.bias"] = torch.tensor(number + 0.5).expand(shape[0])
    return state


class TestPublishedWeights:
    @pytest.mark.parametrize("prefix", ["", "module.", "model."])
    def test_features(self, prefix):
        renamed = rename_published(published_state(FEATURES, prefix))
        assert len(renamed) == 18
        LightCNNFeatures().load_state_dict(renamed)
        for number, name in enumerate(FEATURES):
            assert renamed[f"{PLACES[name]}.weight"].flatten()[0] == number
            assert renamed[f"{PLACES[name]}.bias"].flatten()[0] == number + 0.5

    def test_discriminator(self):
        renamed = rename_published(published_state(FEATURES | CLASSIFIER))
        assert len(renamed) == 22
        LightCNNDiscriminator().load_state_dict(renamed)
        places = {name: f"features.{place}" for name, place in PLACES.items()}
        places |= {"classifier.0.filter": "classifier.0.layer", "classifier.2": "classifier.2"}
        for number, name in enumerate(FEATURES | CLASSIFIER):
            assert renamed[f"{places[name]}.weight"].flatten()[0] == number

    def test_another_method_is_not_taken(self):
        assert rename_published({"features.0.weight": torch.zeros(1)}) is None  # VGG
        assert rename_published({**published_state(FEATURES), "fc1.filter.weight": torch.zeros(1)}) is None
