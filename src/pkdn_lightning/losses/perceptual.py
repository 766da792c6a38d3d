"""Losses on the features of frozen networks (perceptual losses)."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.losses.terms import DISTANCES, Distance, LossTerm
from pkdn_lightning.networks import lightcnn, vgg
from pkdn_lightning.networks.contract import SROutput


class FrozenFeatures(LossTerm):
    """Distance between the features of a frozen network for the restored face and the ground truth.

    Args:
        net: Feature network for images in [0, 1]; it is frozen here.
        distance: `l1` or `l2`.
    """

    def __init__(self, net: nn.Module, distance: Distance) -> None:
        super().__init__()
        # In a tuple, so that the network is not a submodule and its weights stay out of checkpoints and optimisers.
        self._net = (net.eval().requires_grad_(False),)
        self.distance = DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        net = self._net[0].to(hr.device)
        with torch.no_grad():
            true = net(hr)
        return self.distance(net(output.sr), true)


class FaceFeatures(FrozenFeatures):
    """L1 distance between LightCNN features (DICGAN's perceptual term).

    Args:
        weights: File of the weights published by DICGAN's authors (LightCNN_feature.pth).

    Raises:
        ConfigError: If the file does not exist or holds the weights of another network.
    """

    def __init__(self, weights: str | None) -> None:
        state = _load_weights(weights, lightcnn.rename_published, "LightCNN's weights: DICGAN's LightCNN_feature.pth")
        net = lightcnn.LightCNNFeatures()
        net.load_state_dict(state)
        super().__init__(net, "l1")


class VGGFeatures(FrozenFeatures):
    """Mean squared error between VGG-16's relu5_3 features (FSRGAN's perceptual term).

    Args:
        weights: File of torchvision's ImageNet weights (vgg16-397923af.pth).

    Raises:
        ConfigError: If the file does not exist or holds the weights of another network.
    """

    def __init__(self, weights: str | None) -> None:
        state = _load_weights(weights, vgg.rename_published, "VGG-16's weights: torchvision's vgg16-397923af.pth")
        net = vgg.VGG16Features()
        net.load_state_dict(state)
        super().__init__(net, "l2")


def _load_weights(
    weights: str | None, rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor] | None], expected: str
) -> dict[str, Tensor]:
    """Returns the renamed weights in a file; `expected` describes them in error messages."""
    file = Path(weights).expanduser() if weights else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"The term 'features' needs {expected}; the file {weights} does not exist.\n"
            "Set objective.features.term.weights=<file>, or leave the term out: objective.features.weight=0."
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise various errors for files that are no checkpoints
        raise ConfigError(f"{file} cannot be read as weights; expected {expected}.") from error
    renamed = rename(state) if isinstance(state, Mapping) else None
    if renamed is None:
        raise ConfigError(f"{file} holds the weights of another network; expected {expected}.")
    return renamed
