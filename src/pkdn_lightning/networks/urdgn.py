"""UR-DGN: the first adversarial network for x8 face super-resolution.

Paper: X. Yu, F. Porikli, "Ultra-Resolving Face Images by Discriminative Generative Networks", ECCV 2016,
https://doi.org/10.1007/978-3-319-46454-1_20. Public code: https://github.com/XinYuANU/URDGN (Lua Torch).

The layers are the public code's, with three differences: inputs and outputs are in [0, 1] and converted to its [-1, 1]
internally; its final hard tanh, used for display only, is omitted; the discriminator's sigmoid is part of the loss. No
PyTorch weights are public. Initialisation is PyTorch's default, equal to Lua Torch's for these layers.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.networks.contract import SRNetwork, SROutput, require_image, require_size
from pkdn_lightning.values import Count


class URDGN(SRNetwork):
    """The generator: stages of convolution and batch norm, with x2 upsampling between them.

    Args:
        scale: Enlargement from LR to HR, `2 ** (len(widths) - 1)`.
        widths: Channels of each stage. The first two stages have 3x3 kernels, the others and the output layer 5x5.

    Raises:
        ConfigError: If `scale` does not match the number of `widths`.

    Example:
        >>> output = URDGN(widths=(4, 4, 4, 4))(torch.rand(1, 3, 16, 16))
        >>> output.sr.shape, list(output.features)
        (torch.Size([1, 3, 128, 128]), ['stage1', 'stage2', 'stage3', 'stage4'])
    """

    def __init__(self, *, scale: Count = 8, widths: Sequence[Count] = (16, 64, 128, 256)) -> None:
        super().__init__()
        if not widths or scale != 2 ** (len(widths) - 1):
            raise ConfigError(
                f"{len(widths)} widths ({list(widths)}) give {max(len(widths) - 1, 0)} upsamplings by 2, which "
                f"does not make scale={scale}. Give one width more than there are upsamplings: 4 for x8."
            )
        self.scale = scale
        self.stages = nn.ModuleList(_stages(widths))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.tail = nn.Conv2d(widths[-1], 3, kernel_size=5, padding=2)

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).

        Returns:
            `sr` (B, 3, H * scale, W * scale) and the output of each stage, `stage1`..., before upsampling.
        """
        require_image(lr, scale=self.scale, multiple=1)
        features: dict[str, Tensor] = {}
        x = 2 * lr - 1
        for number, stage in enumerate(self.stages, start=1):
            x = features[f"stage{number}"] = stage(x if number == 1 else self.upsample(x))
        return SROutput((self.tail(x) + 1) / 2, features, {})


class URDGNDiscriminator(nn.Module):
    """The discriminator: four convolutions with pooling, and two fully connected layers.

    The public code applies the last activation before the pooling; the result is the same.

    Args:
        size_px: Side of the images, a multiple of 16.

    Raises:
        ConfigError: If `size_px` is not.
    """

    def __init__(self, *, size_px: Count = 128) -> None:
        super().__init__()
        if size_px < 16 or size_px % 16:
            raise ConfigError(f"size_px has to be a multiple of 16, found {size_px}.")
        self.size_px = size_px
        self.features = nn.Sequential(_halve(3, 32), _halve(32, 64), _halve(64, 128), _halve(128, 96))
        self.classifier = nn.Sequential(
            nn.Linear(96 * (size_px // 16) ** 2, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits, (B, 1), of images in [0, 1], (B, 3, size_px, size_px).

        Raises:
            ShapeError: If the images have another size.
        """
        require_size(images, self.size_px)
        return self.classifier(torch.flatten(self.features(2 * images - 1), 1))


def _stages(widths: Sequence[int]) -> Iterator[nn.Sequential]:
    for index, (before, width) in enumerate(zip((3, *widths), widths, strict=False)):
        kernel = 3 if index < 2 else 5
        yield nn.Sequential(nn.Conv2d(before, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU())


def _halve(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=5, padding=2)
    return nn.Sequential(conv, nn.MaxPool2d(2), nn.ReLU(), nn.Dropout2d(0.2))
