"""FSRNet: end-to-end face super-resolution with facial priors (landmarks and parsing maps).

Paper: Y. Chen, Y. Tai, X. Liu, C. Shen, J. Yang, "FSRNet: End-to-End Learning Face Super-Resolution with Facial
Priors", CVPR 2018, https://arxiv.org/abs/1711.10703. Public code: https://github.com/tyshiwo/FSRNet (a test script,
no weights), and ports to PyTorch: https://github.com/cs-giung/FSRNet-pytorch and
https://github.com/cydiachen/FSRNET_pytorch.

Widths, depths and bias-free convolutions are the ports'. Differences from them:

- Each residual block has its own weights. The first port repeats one block 3, 12 and 3 times with shared weights.
- Borders are zero padded, not reflected.
- The priors are those of this package's data: 19 parsing classes and 68 landmarks instead of the paper's 11 and 194.
- The decoder's prior input is an option, because ports and paper differ (`decoder_prior`).

Internally the range is [-1, 1]. No weights for these layers are public. Initialisation is PyTorch's default, as in the
first port; the second uses a normal distribution with standard deviation 0.02, which batch norm makes nearly
equivalent.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.networks.blocks import BottleneckBlock, Hourglass, ResidualBlock, conv1
from pkdn_lightning.networks.contract import SRNetwork, SROutput, require_image
from pkdn_lightning.values import Count, Natural

_LEVELS = 3  # of each hourglass


class FSRNet(SRNetwork):
    """Restores a coarse face, estimates priors from it, and restores the fine face with them.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels; the prior branch has twice as many.
        parsing_classes: Number of estimated parsing maps, one per class (11 in the paper); 0 removes the head.
        landmarks: Number of estimated heatmaps, one per landmark (194 in the paper); 5 for component heatmaps; 0
            removes the head.
        decoder_prior: Input of the decoder beside the encoder's feature: the `features` of the prior branch (both
            ports) or the estimated `maps` (the interpretation in the first port's issue 10).

    Raises:
        ConfigError: If an argument is out of range, or `decoder_prior` is `maps` without any map.

    Example:
        >>> output = FSRNet(width=4)(torch.rand(1, 3, 16, 16))
        >>> {name: tuple(prior.shape) for name, prior in output.extras.items()}
        {'coarse': (1, 3, 128, 128), 'parsing': (1, 19, 64, 64), 'heatmaps': (1, 68, 64, 64)}
    """

    compiled_blocks = (ResidualBlock, Hourglass)

    def __init__(
        self,
        *,
        scale: Count = 8,
        width: Count = 64,
        parsing_classes: Natural = 19,
        landmarks: Natural = 68,
        decoder_prior: Literal["features", "maps"] = "features",
    ) -> None:
        super().__init__()
        if min(scale, width) < 1 or min(parsing_classes, landmarks) < 0:
            raise ConfigError(
                f"scale={scale} and width={width} have to be 1 or more, parsing_classes={parsing_classes} and "
                f"landmarks={landmarks} 0 or more."
            )
        if decoder_prior not in ("features", "maps"):
            raise ConfigError(f"decoder_prior has to be 'features' or 'maps', found '{decoder_prior}'.")
        if decoder_prior == "maps" and not parsing_classes + landmarks:
            raise ConfigError("decoder_prior='maps' needs parsing_classes or landmarks, but both are 0.")
        self.scale = scale
        self.decoder_prior = decoder_prior
        self.coarse = nn.Sequential(_conv_norm(3, width), *_residual(width, 3))
        self.coarse_tail = _plain_conv(width, 3)
        self.encoder = nn.Sequential(
            _conv_norm(3, width, stride=2), *_residual(width, 12), _plain_conv(width, width), nn.Tanh()
        )
        self.prior = nn.Sequential(
            _conv_norm(3, width, kernel=7, stride=2),
            BottleneckBlock(width, 2 * width, norm=True),
            *_residual(2 * width, 2),
            _hourglass(2 * width),
            _hourglass(2 * width),
        )
        maps = {"parsing": parsing_classes, "heatmaps": landmarks}
        self.prior_heads = nn.ModuleDict({name: conv1(2 * width, count) for name, count in maps.items() if count})
        prior_channels = 2 * width if decoder_prior == "features" else parsing_classes + landmarks
        self.decoder = nn.Sequential(
            _conv_norm(width + prior_channels, width),
            nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *_residual(width, 3),
        )
        self.tail = _plain_conv(width, 3)

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W); H * scale and W * scale are multiples of 16.

        Returns:
            `sr` (B, 3, H * scale, W * scale); the features `coarse` and `decoder` at its resolution, `encoder` and
            `prior` at half of it; the extras `coarse`, the coarse face, like `sr`, and at half the resolution `parsing`
            (B, parsing_classes, ...) and `heatmaps` (B, landmarks, ...). The paper regresses these two to one-hot and
            Gaussian maps by squared error; they have no final activation, so `parsing` can also be used as logits.
        """
        require_image(lr, scale=self.scale, multiple=2 * 2**_LEVELS)
        enlarged = bicubic(lr, (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale))
        features = {"coarse": self.coarse(2 * enlarged - 1)}
        coarse = torch.tanh(self.coarse_tail(features["coarse"]))
        features["encoder"] = self.encoder(coarse)
        features["prior"] = self.prior(coarse)
        maps = {name: head(features["prior"]) for name, head in self.prior_heads.items()}
        priors = [features["prior"]] if self.decoder_prior == "features" else list(maps.values())
        features["decoder"] = self.decoder(torch.cat([features["encoder"], *priors], dim=1))
        sr = torch.tanh(self.tail(features["decoder"]))
        return SROutput((sr + 1) / 2, features, {"coarse": (coarse + 1) / 2, **maps})


def _plain_conv(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def _conv_norm(in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = _plain_conv(in_channels, out_channels, kernel=kernel, stride=stride)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def _residual(channels: int, blocks: int) -> list[ResidualBlock]:
    return [ResidualBlock(channels, bias=False, norm=True) for _ in range(blocks)]


def _hourglass(channels: int) -> nn.Module:
    level: nn.Module = BottleneckBlock(channels, channels, norm=True)
    for _ in range(_LEVELS):
        level = Hourglass(
            skip=BottleneckBlock(channels, channels, norm=True),
            down=nn.Sequential(nn.MaxPool2d(2), BottleneckBlock(channels, channels, norm=True)),
            inner=level,
            up=nn.Sequential(BottleneckBlock(channels, channels, norm=True), nn.Upsample(scale_factor=2)),
        )
    return level
