"""SFMNet: spatial-frequency mutual learning.

Chenyang Wang, Junjun Jiang, Zhiwei Zhong, Xianming Liu, "Spatial-Frequency Mutual Learning for Face
Super-Resolution", CVPR 2023, https://doi.org/10.1109/CVPR52729.2023.02141; code https://github.com/wcy-cs/SFMNet.

Two U-shaped branches process the bicubically upsampled LR face. One works on pixels; the other on amplitude and phase
of the Fourier transform, where a small kernel has a global receptive field. The frequency branch is independent; after
every block of the spatial branch, a fusion block combines both. Each branch restores a face; the result is the spatial
branch's.

The layers follow the public code. Differences:

- The fusion block has one attention per direction, 8,799,622 parameters in total. The code builds both but uses the
  first one twice, which leaves 14 times 18,120 parameters untrained. `shared_attention` reproduces this without the
  unused parameters (8,545,942), as needed for published weights.
- The code calls its fusion blocks with swapped branches. The names here match the actual inputs.
- The code adds 1e-8 around the Fourier transform, which is within rounding error, and replaces NaN by 1e-5, which would
  hide a failing network. Both are omitted.

The method is numerically sensitive: the gradient of a phase grows as its amplitude falls, and phases wrap from π to -π.
Rounding differences between devices can change the output of a network with random weights by about 0.01.
Initialisation is PyTorch's default, as in the code.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.functional.memory_format import PixelShuffle, PixelUnshuffle, in_format_of
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.networks.blocks import ResidualBlock, conv1, conv3
from pkdn_lightning.networks.contract import PublishedWeights, SRNetwork, SROutput, require_image
from pkdn_lightning.values import Count

LEVELS: Final = ("down1", "down2", "down3", "bottleneck", "up1", "up2", "up3")


class ResidualGroup(nn.Module):
    """The spatial branch's block: residual blocks, a convolution and PReLU, plus the input times a learned scalar.

    Args:
        channels: Width of the feature.
        blocks: Number of residual blocks.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        residual = (ResidualBlock(channels, bias=False, activate_sum=True) for _ in range(blocks))
        self.body = nn.Sequential(*residual, _conv(channels, channels, 3), nn.PReLU())
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        return self.body(x) + self.scale * x


class FrequencyBlock(nn.Module):
    """The frequency branch's block: refines amplitude and phase of the Fourier transform by two convolutions each.

    Args:
        channels: Width of the feature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project_in, self.project_out = conv1(channels, channels), conv1(channels, channels)
        self.amplitude, self.phase = (
            nn.Sequential(conv3(channels, channels), nn.LeakyReLU(0.1), conv3(channels, channels)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        projected = self.project_in(x)
        # FFTs do not support bfloat16, and a float16 sum over an image overflows.
        spectrum = torch.fft.rfft2(projected.to(torch.promote_types(projected.dtype, torch.float32)))
        amplitude, phase = spectrum.abs(), spectrum.angle()
        amplitude, phase = amplitude + self.amplitude(amplitude), phase + self.phase(phase)
        # Not torch.polar: its gradient assumes positive amplitudes, which these need not be.
        refined = torch.complex(amplitude * phase.cos(), amplitude * phase.sin())
        return x + self.project_out(in_format_of(x, torch.fft.irfft2(refined, s=x.shape[-2:]).abs()))


class ChannelCrossAttention(nn.Module):
    """Multi-head cross attention between the channels of two features; attention maps are channels by channels.

    Args:
        channels: Width of both features.
        heads: Number of heads.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.query, self.query_depthwise = _conv(channels, channels, 1), _depthwise(channels)
        self.key_value, self.key_value_depthwise = _conv(channels, 2 * channels, 1), _depthwise(2 * channels)
        self.project = _conv(channels, channels, 1)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Returns the attention output for queries from `x`, and keys and values from `other`; all are (B, C, H, W)."""
        key, value = self.key_value_depthwise(self.key_value(other)).chunk(2, dim=1)
        query, key, value = (
            feature.unflatten(1, (self.heads, -1)).flatten(-2)  # (B, C, H, W) -> (B, heads, C / heads, H * W)
            for feature in (self.query_depthwise(self.query(x)), key, value)
        )
        similarity = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
        attended = (similarity * self.temperature).softmax(-1) @ value
        return self.project(in_format_of(x, attended.flatten(1, 2).unflatten(-1, x.shape[-2:])))


class FusionBlock(nn.Module):
    """Frequency-spatial interaction block: cross attention in both directions, then a gated sum.

    The spatial feature attends to the frequency feature first; the frequency feature then attends to the result.

    Args:
        channels: Width of both features.
        heads: See `ChannelCrossAttention`.
        shared_attention: Uses one attention for both directions, as in the code.
    """

    def __init__(self, channels: int, heads: int, *, shared_attention: bool = False) -> None:
        super().__init__()
        self.spatial, self.frequency = conv3(channels, channels), conv3(channels, channels)
        self.attention = ChannelCrossAttention(channels, heads)
        self.answer = None if shared_attention else ChannelCrossAttention(channels, heads)
        self.gates = nn.Sequential(conv3(2 * channels, channels), conv3(channels, 2 * channels), nn.Sigmoid())

    def forward(self, spatial: Tensor, frequency: Tensor) -> Tensor:
        """Returns the fused feature; all are (B, C, H, W)."""
        spatial, frequency = self.spatial(spatial), self.frequency(frequency)
        spatial = spatial + self.attention(spatial, frequency)
        frequency = frequency + (self.answer or self.attention)(frequency, spatial)
        both = torch.cat([spatial, frequency], dim=1)
        gated_spatial, gated_frequency = (both * self.gates(both)).chunk(2, dim=1)
        return gated_spatial + gated_frequency


class Branch(nn.Module):
    """One U-shaped branch: a head, seven levels, a tail. A level is a resampling layer and two blocks.

    Skip connections add the second block's output of the down levels to that of the up levels.

    Args:
        width: Feature channels.
        block: Returns a block.
        fusion: Returns a module that fuses a block's output with the other branch's; None for no fusion.
    """

    def __init__(
        self, width: int, block: Callable[[], nn.Module], fusion: Callable[[], nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.head = nn.Sequential(_conv(3, width, 3), nn.PReLU())
        self.resample = nn.ModuleDict({level: _resampling(level, width) for level in LEVELS})
        self.first = nn.ModuleDict({level: block() for level in LEVELS})
        self.second = nn.ModuleDict({level: block() for level in LEVELS})
        self.fusion = nn.ModuleList([] if fusion is None else [fusion() for _ in range(2 * len(LEVELS))])
        self.tail = nn.Sequential(_conv(width, 3, 3), nn.PReLU())

    def forward(self, x: Tensor, others: Sequence[Tensor] = ()) -> tuple[Tensor, list[Tensor]]:
        """Returns the residual of the upsampled face, (B, 3, H, W), and the output of each of the 14 blocks.

        Args:
            x: Upsampled LR faces, (B, 3, H, W).
            others: Outputs of the other branch's blocks, if there is a fusion.
        """
        outputs: list[Tensor] = []

        def fuse(feature: Tensor) -> Tensor:
            if self.fusion:
                feature = self.fusion[len(outputs)](feature, others[len(outputs)])
            outputs.append(feature)
            return feature

        x = self.head(x)
        retained = [x]
        for level in LEVELS:
            x = fuse(self.first[level](self.resample[level](x)))
            x = self.second[level](x)
            if level.startswith("down"):
                retained.append(x)  # before the fusion
            else:
                x = x + retained.pop()
            x = fuse(x)
        return self.tail(x), outputs


class SFMNet(SRNetwork):
    """The network.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels.
        blocks: Residual blocks in each block of the spatial branch.
        heads: Attention heads of the fusion blocks.
        shared_attention: See `FusionBlock`; needed for published weights.

    Raises:
        ConfigError: If a number is below 1, or `heads` does not divide `width`.

    Example:
        >>> output = SFMNet(width=8, blocks=1, heads=2)(torch.rand(1, 3, 16, 16))
        >>> output.sr.shape, list(output.extras)
        (torch.Size([1, 3, 128, 128]), ['frequency'])
    """

    compiled_blocks = (ResidualGroup, FrequencyBlock, FusionBlock)

    def __init__(
        self,
        *,
        scale: Count = 8,
        width: Count = 64,
        blocks: Count = 2,
        heads: Count = 8,
        shared_attention: bool = False,
    ) -> None:
        super().__init__()
        if min(scale, width, blocks, heads) < 1 or width % heads:
            raise ConfigError(
                f"scale={scale}, width={width}, blocks={blocks} and heads={heads} have to be 1 or more, and width a "
                "multiple of heads."
            )
        self.scale = scale
        self.frequency = Branch(width, lambda: FrequencyBlock(width))
        self.spatial = Branch(
            width,
            lambda: ResidualGroup(width, blocks),
            lambda: FusionBlock(width, heads, shared_attention=shared_attention),
        )

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).

        Returns:
            `sr`, the spatial branch's faces, (B, 3, H * scale, W * scale); `features`, the output of each level of the
            spatial (`down1`...) and the frequency branch (`frequency_down1`...); `extras["frequency"]`, the frequency
            branch's faces, like `sr`.

        Raises:
            ShapeError: If the upsampled sides are not divisible by 8.
        """
        require_image(lr, scale=self.scale, multiple=8)
        enlarged = bicubic(lr, (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale))
        frequency, frequency_features = self.frequency(enlarged)
        spatial, spatial_features = self.spatial(enlarged, frequency_features)
        features = dict(zip(LEVELS, spatial_features[1::2], strict=True))
        features |= {f"frequency_{level}": x for level, x in zip(LEVELS, frequency_features[1::2], strict=True)}
        return SROutput(enlarged + spatial, features, {"frequency": enlarged + frequency})

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        return None if weights is None else PublishedWeights(weights, {"shared_attention": True})


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """Returns a convolution without bias and with same padding."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def _resampling(level: str, width: int) -> nn.Module:
    if level.startswith("down"):
        return nn.Sequential(_conv(width, width, 3), PixelUnshuffle(2), _conv(4 * width, width, 1))
    if level.startswith("up"):
        return nn.Sequential(conv1(width, 4 * width), PixelShuffle(2), nn.PReLU())
    return nn.Identity()


_HEAD = {"layers": "0", "act": "1"}
_DOWN = {"layers.0.layers": "0", "layers.2.layers": "2"}
_UP = {"0": "0", "2": "2"}
_GROUP = {
    "body.0.layers.0.layers": "body.0.conv_in",
    "body.0.layers.1.layers": "body.0.conv_out",
    "body.1.layers.0.layers": "body.1.conv_in",
    "body.1.layers.1.layers": "body.1.conv_out",
    "body.2.layers": "body.2",
    "body.2.act": "body.3",
    "re_scale": "",
}
_FREQUENCY = {
    "fpre": "project_in",
    "amp_fuse.0": "amplitude.0",
    "amp_fuse.2": "amplitude.2",
    "pha_fuse.0": "phase.0",
    "pha_fuse.2": "phase.2",
    "post": "project_out",
}
_FUSION = {
    "fre": "spatial",  # swapped: in the code, `fre` processes the spatial feature
    "spa": "frequency",
    "fre_att": "attention",
    "fre_att.q": "attention.query",
    "fre_att.q_dwconv": "attention.query_depthwise",
    "fre_att.kv": "attention.key_value",
    "fre_att.kv_dwconv": "attention.key_value_depthwise",
    "fre_att.project_out": "attention.project",
    "fuse.0": "gates.0",
    "fuse.1": "gates.1",
}


def _published_modules() -> dict[str, str]:
    """Maps the public name of each layer to its name in this package."""
    places: list[tuple[str, str, dict[str, str]]] = []
    for branch, suffix, block in (("spatial", "", _GROUP), ("frequency", "_fre", _FREQUENCY)):
        places += [(f"{end}{suffix}.0", f"{branch}.{end}", _HEAD) for end in ("head", "tail")]
        for level in LEVELS:
            stage, first = ("neck" if level == "bottleneck" else level) + suffix, 1
            if level == "bottleneck":
                first = 0  # there is no resampling layer
            else:
                places.append((f"{stage}.0", f"{branch}.resample.{level}", _DOWN if level.startswith("down") else _UP))
            places.append((f"{stage}.{first}", f"{branch}.first.{level}", block))
            places.append((f"{stage}_mo.0", f"{branch}.second.{level}", block))
    places += [(f"conv_fuse.{index}", f"spatial.fusion.{index}", _FUSION) for index in range(2 * len(LEVELS))]
    return {
        f"{public}.{theirs}": f"{place}.{ours}".rstrip(".")
        for public, place, parts in places
        for theirs, ours in parts.items()
    }


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns published weights under this package's names, for `shared_attention`; None for other networks.

    | public                                    | here                                              |
    |-------------------------------------------|---------------------------------------------------|
    | `head`, `down1`...; `head_fre`...         | `spatial.`; `frequency.`                          |
    | `down1.0`, `down1.1`, `down1_mo.0`        | `resample.down1`, `first.down1`, `second.down1`   |
    | `neck.0`, `neck_mo.0`                     | `first.bottleneck`, `second.bottleneck`           |
    | `body.0.layers.0.layers`, `re_scale`      | `body.0.conv_in`, `scale`                         |
    | `fpre`, `amp_fuse`, `pha_fuse`, `post`    | `project_in`, `amplitude`, `phase`, `project_out` |
    | `conv_fuse.0`                             | `spatial.fusion.0`                                |
    | in it: `fre`, `spa`, `fre_att`, `fuse`    | `spatial`, `frequency`, `attention`, `gates`      |
    | in it: `spa_att`                          | dropped: never used                               |

    Args:
        state: State dict of the public code's `TwoBranch`, with or without the prefixes `module.` and `model.`.
    """
    names = _published_modules()
    renamed: dict[str, Tensor] = {}
    found: set[str] = set()
    for key, value in state.items():
        module, _, parameter = key.removeprefix("module.").removeprefix("model.").rpartition(".")
        if re.match(r"conv_fuse\.\d+\.spa_att(\.|$)", module):
            continue
        if module not in names:
            return None
        renamed[f"{names[module]}.{parameter}"] = value
        found.add(module)
    return renamed if found == names.keys() else None
