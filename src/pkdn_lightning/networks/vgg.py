"""VGG-16 up to relu5_3: the frozen features of FSRGAN's perceptual loss.

Papers: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
https://arxiv.org/abs/1409.1556; Y. Chen et al., "FSRNet", CVPR 2018, https://arxiv.org/abs/1711.10703.

The layers have torchvision's numbers, so that its published weights (vgg16-397923af.pth) load without torchvision.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from pkdn_lightning.networks.blocks import conv3

_MEAN: Final = (0.485, 0.456, 0.406)  # of ImageNet, whose images the published weights were trained on
_STD: Final = (0.229, 0.224, 0.225)
_STAGES: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions


class VGG16Features(nn.Module):
    """The 13 convolutions of VGG-16 and their activations, at 1/16 of the resolution.

    The weights are random; load published ones (`rename_published`) and freeze them.

    Example:
        >>> VGG16Features()(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 512, 2, 2])
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)
        layers: list[nn.Module] = []
        before = 3
        for channels, convolutions in _STAGES:
            for _ in range(convolutions):
                layers += [conv3(before, channels), nn.ReLU(inplace=True)]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])  # without the last pooling

    def forward(self, images: Tensor) -> Tensor:
        """Returns relu5_3, (B, 512, H // 16, W // 16), of images in [0, 1], (B, 3, H, W), with sides of at least 16."""
        features: Tensor = self.features((images - self.mean) / self.std)
        return features


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the convolutions of torchvision's weights; its classifier is dropped.

    Args:
        state: State dict of `torchvision.models.vgg16`, with or without the classifier.

    Returns:
        State dict for `VGG16Features`, or None if the names or shapes are not those of VGG-16.
    """
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in VGG16Features().state_dict().items()}
    weights = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
    return weights if {name: tensor.shape for name, tensor in weights.items()} == expected else None
