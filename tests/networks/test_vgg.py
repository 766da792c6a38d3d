"""VGG-16's features: the layers and names that its published weights have."""

import torch

from pkdn_lightning.networks.vgg import VGG16Features, rename_published

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # as torchvision numbers them


def test_size_and_names_are_those_of_torchvision():
    net = VGG16Features()
    assert sum(weight.numel() for weight in net.parameters()) == 14_714_688
    names = [f"features.{number}.{part}" for number in CONVOLUTIONS for part in ("weight", "bias")]
    assert list(net.state_dict()) == names


def test_the_classifier_is_dropped_and_another_network_refused():
    state = VGG16Features().state_dict()
    assert rename_published(state | {"classifier.6.bias": torch.zeros(1000)}).keys() == state.keys()
    assert rename_published({**state, "features.0.weight": torch.zeros(64, 3, 5, 5)}) is None
    assert rename_published({"weight": torch.zeros(1)}) is None


def test_features_end_with_relu5_3():
    with torch.inference_mode():
        features = VGG16Features()(torch.rand(2, 3, 48, 32))
    assert features.shape == (2, 512, 3, 2)
    assert features.min() >= 0
