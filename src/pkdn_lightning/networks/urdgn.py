"""UR-DGN: the first adversarial network for x8 face super-resolution.

Paper: X. Yu, F. Porikli, "Ultra-Resolving Face Images by Discriminative Generative Networks", ECCV 2016,
https://doi.org/10.1007/978-3-319-46454-1_20. Public code: https://github.com/XinYuANU/URDGN (Lua Torch).

The layers are the public code's. It works in [-1, 1], which stays inside here; its hard tanh serves display alone and
is left to whoever clamps; the discriminator's sigmoid belongs to the loss. No weights for PyTorch are public, so there
is nothing to rename. Initialisation: PyTorch's default, which for convolutions and matrices is Lua Torch's.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.networks.contract import SRNetwork, SROutput, require_image, require_size


class URDGN(SRNetwork):
    """The generator: convolutions with batch norm, each but the last one followed by doubling the image.

    Args:
        scale: Enlargement from LR to HR.
        widths: Channels of each stage. There is one doubling between each two: `scale` is 2 to the power of their
            number less one. The first two have 3x3 kernels, all others, and the output layer, 5x5.

    Raises:
        ConfigError: If `scale` and `widths` contradict each other.

    Example:
        >>> output = URDGN(widths=(4, 4, 4, 4))(torch.rand(1, 3, 16, 16))
        >>> output.sr.shape, list(output.features)
        (torch.Size([1, 3, 128, 128]), ['stage1', 'stage2', 'stage3', 'stage4'])
    """

    def __init__(self, *, scale: int = 8, widths: Sequence[int] = (16, 64, 128, 256)) -> None:
        super().__init__()
        if not widths or scale != 2 ** (len(widths) - 1):
            raise ConfigError(
                f"{len(widths)} widths ({list(widths)}) double {max(len(widths) - 1, 0)} times, which does not make "
                f"scale={scale}. Give one width more than there are doublings: 4 for x8."
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
            `sr` (B, 3, H * scale, W * scale) and the feature behind each stage, `stage1`..., before it is doubled.
        """
        require_image(lr, scale=self.scale, multiple=1)
        features: dict[str, Tensor] = {}
        x = 2 * lr - 1
        for number, stage in enumerate(self.stages, start=1):
            x = features[f"stage{number}"] = stage(x if number == 1 else self.upsample(x))
        return SROutput((self.tail(x) + 1) / 2, features, {})


class URDGNDiscriminator(nn.Module):
    """The discriminator: four convolutions that halve the image, and two fully connected layers.

    The public code puts the last activation before its pooling and the others behind; the results are the same.

    Args:
        size_px: Side of the images; divides by 16.

    Raises:
        ConfigError: If `size_px` does not.
    """

    def __init__(self, *, size_px: int = 128) -> None:
        super().__init__()
        if size_px < 16 or size_px % 16:
            raise ConfigError(f"size_px has to be a multiple of 16, found {size_px}.")
        self.size_px = size_px
        self.features = nn.Sequential(_halve(3, 32), _halve(32, 64), _halve(64, 128), _halve(128, 96))
        self.classifier = nn.Sequential(
            nn.Linear(96 * (size_px // 16) ** 2, 1024), nn.ReLU(), nn.Dropout(0.5), nn.Linear(1024, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Returns how real each image looks.

        Args:
            images: Images in [0, 1], (B, 3, size_px, size_px).

        Returns:
            Logits, (B, 1).

        Raises:
            ShapeError: If the images are of another size.
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
