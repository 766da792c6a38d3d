"""Light CNN as used by DICGAN: the discriminator, and the frozen features of its perceptual loss.

Papers: X. Wu, R. He, Z. Sun, T. Tan, "A Light CNN for Deep Face Representation with Noisy Labels", TIFS 2018,
https://arxiv.org/abs/1511.02683 (the 9-layer network, for one grey channel); C. Ma et al., DIC, CVPR 2020,
https://arxiv.org/abs/2003.13063. Public code: https://github.com/Maclory/Deep-Iterative-Collaboration (MIT).

The layers are those of DIC's public code: RGB instead of grey, one logit instead of identities. The code subtracts the
mean colour from the input of both networks; here the networks subtract it themselves, so that images are in [0, 1].
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.networks.blocks import conv1, conv3
from pkdn_lightning.networks.contract import require_size
from pkdn_lightning.networks.dic import RGB_MEAN, init_kaiming


class MaxFeatureMap(nn.Module):
    """A layer followed by max-feature-map: the elementwise maximum of the two halves of its channels.

    Args:
        layer: Has twice as many output channels as this module.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, ...), half of the layer's channels."""
        return torch.maximum(*self.layer(x).chunk(2, dim=1))


class LightCNNFeatures(nn.Module):
    """The convolutions of Light CNN-9, whose output DICGAN's perceptual loss compares, at 1/16 of the resolution.

    The weights are random; load published ones (`rename_published`) and freeze them.

    Example:
        >>> LightCNNFeatures()(torch.rand(1, 3, 32, 32)).shape
        torch.Size([1, 128, 2, 2])
    """

    channels = 128

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.layers = nn.Sequential(
            MaxFeatureMap(nn.Conv2d(3, 2 * 48, kernel_size=5, padding=2)),
            _pool(),
            _group(48, 96),
            _pool(),
            _group(96, 192),
            _pool(),
            _group(192, 128),
            _group(128, 128),
            _pool(),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Returns the features of images.

        Args:
            images: Images in [0, 1], (B, 3, H, W).

        Returns:
            (B, 128, ceil(H / 16), ceil(W / 16)).
        """
        return self.layers(images - self.mean)


class LightCNNDiscriminator(nn.Module):
    """DICGAN's discriminator: the convolutions of Light CNN-9 and two fully connected layers.

    Initialised by `init_kaiming`, as DIC is.

    Args:
        size_px: Side of the images, a multiple of 16.

    Raises:
        ConfigError: If `size_px` is not.
    """

    def __init__(self, *, size_px: int = 128) -> None:
        super().__init__()
        if size_px < 16 or size_px % 16:
            raise ConfigError(f"size_px has to be a multiple of 16, found {size_px}.")
        self.size_px = size_px
        self.features = LightCNNFeatures()
        self.classifier = nn.Sequential(
            MaxFeatureMap(nn.Linear(LightCNNFeatures.channels * (size_px // 16) ** 2, 2 * 256)),
            nn.LeakyReLU(0.2),
            nn.Linear(256, 1),
        )
        init_kaiming(self)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits, (B, 1), of images in [0, 1], (B, 3, size_px, size_px).

        Raises:
            ShapeError: If the images have another size.
        """
        require_size(images, self.size_px)
        return self.classifier(self.features(images).flatten(1))


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the public code's weights under this package's names.

    | public code                       | `LightCNNFeatures` | `LightCNNDiscriminator`   |
    |-----------------------------------|--------------------|---------------------------|
    | `features.0.filter`               | `layers.0.layer`   | `features.layers.0.layer` |
    | `features.i.conv_a.filter`        | `layers.i.0.layer` | the same after `features.`|
    | `features.i.conv.filter`          | `layers.i.1.layer` | the same after `features.`|
    | `classifier.0.filter`             |                    | `classifier.0.layer`      |
    | `classifier.2`                    |                    | `classifier.2`            |

    Nothing is dropped.

    Args:
        state: State dict of the public code's feature extractor (`LightCNN_feature.pth`) or of its discriminator
            (`netD` in DICGAN's checkpoints); keys may begin with `module.` or `model.`.

    Returns:
        State dict for `LightCNNDiscriminator` if there is a classifier, else for `LightCNNFeatures`; None for other
        networks.
    """
    names: dict[str, Tensor] = {}
    for published, tensor in state.items():
        name = re.sub(r"^((module|model)\.)+", "", published)
        name = re.sub(r"^features\.", "features.layers.", name)
        name = name.replace(".conv_a.", ".0.").replace(".conv.", ".1.").replace(".filter.", ".layer.")
        names[name] = tensor
    with torch.random.fork_rng(devices=[]):  # reading a file must not change the random state
        discriminator = LightCNNDiscriminator(size_px=16)  # the names do not depend on the size
    if names.keys() == discriminator.state_dict().keys():
        return names
    names = {name.removeprefix("features."): tensor for name, tensor in names.items()}
    return names if names.keys() == discriminator.features.state_dict().keys() else None


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(2, ceil_mode=True)


def _group(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        MaxFeatureMap(conv1(in_channels, 2 * in_channels)), MaxFeatureMap(conv3(in_channels, 2 * out_channels))
    )
