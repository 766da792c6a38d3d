"""DIC: face super-resolution that alternates with landmark estimation.

Paper: C. Ma, Z. Jiang, Y. Rao, J. Lu, J. Zhou, "Deep Face Super-Resolution with Iterative Collaboration between
Attentive Recovery and Landmark Estimation", CVPR 2020, https://arxiv.org/abs/2003.13063. The feedback blocks are those
of SRFBN (Li et al. 2019, https://arxiv.org/abs/1903.09814). Public code:
https://github.com/Maclory/Deep-Iterative-Collaboration (MIT). DICGAN is the same network with the discriminator and
the perceptual features of `networks/lightcnn.py`.

The layers are the public code's, and its weights can be loaded (`rename_published`). Notes:

- The feedback blocks project by the full factor of 8 between 32x32 and 256x256, twice the size of the face; only the
  output layer works at 128x128. This is most of the method's cost and memory.
- The first step, without heatmaps, has its own feedback block; all later steps share another one.
- The mean colour is subtracted here instead of in the data reader, so that `lr` and `sr` are in [0, 1].
- The gradient flows from the restored face through the heatmaps into the hourglass (`detach_attention` is off in
  every published configuration). The hourglass also runs after the last step; only a loss uses these heatmaps.
- The public code's detector of 194 landmarks is in no published configuration and is omitted.

Initialisation: Kaiming normal with zero biases (`init_kaiming`), as published, except for the hourglass. The published
training starts from a pretrained hourglass. It has no normalisation, so with Kaiming initialisation its heatmaps would
reach 1e10 by the fourth step; it keeps PyTorch's default.
"""

import re
from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.functional.memory_format import PixelShuffle, in_format_of
from pkdn_lightning.networks.blocks import BottleneckBlock, Hourglass, ResidualBlock, conv1, conv3
from pkdn_lightning.networks.contract import PublishedWeights, SRNetwork, SROutput, require_image
from pkdn_lightning.values import Count

RGB_MEAN: Final = (0.509, 0.424, 0.378)
"""Mean colour of the faces, in [0, 1], subtracted by DIC and by DICGAN's discriminator and feature network."""

COMPONENTS: Final = {
    "left_eye": slice(36, 42),
    "right_eye": slice(42, 48),
    "nose": slice(27, 36),
    "mouth": slice(48, 68),
    "silhouette": slice(0, 27),
}
"""Landmarks (of 68) of each component of the face, in the order of `merge_heatmaps`."""

_LEVELS: Final = 4  # of the hourglass


class DenseProjections(nn.Module):
    """Alternating up and down projections with dense connections: the body of SRFBN's feedback block.

    The block's input convolution, 1x1 over the new and the fed back features, is part of `DIC`, because the attentive
    fusion follows it.

    Args:
        channels: Width of the feature.
        groups: Number of up and down pairs.
        factor: Scale of the projections.
    """

    def __init__(self, channels: int, groups: int, factor: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList(_up(channels, factor) for _ in range(groups))
        self.downs = nn.ModuleList(_down(channels, factor) for _ in range(groups))
        # The first projection of each direction has a single input: nothing to merge.
        self.up_merges = nn.ModuleList(_projection(count * channels, channels) for count in range(2, groups + 1))
        self.down_merges = nn.ModuleList(_projection(count * channels, channels) for count in range(2, groups + 1))
        self.compress = _projection(groups * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        low: list[Tensor] = [x]
        high: list[Tensor] = []  # not list[Tensor](), which torch.compile cannot trace
        for index, (up, down) in enumerate(zip(self.ups, self.downs, strict=True)):
            high.append(up(self.up_merges[index - 1](torch.cat(low, dim=1)) if index else x))
            low.append(down(self.down_merges[index - 1](torch.cat(high, dim=1)) if index else high[0]))
        return self.compress(torch.cat(low[1:], dim=1))


class AttentiveFusion(nn.Module):
    """Computes one feature per component of the face, and sums them with per-pixel weights from the heatmaps.

    Args:
        channels: Width of the feature.
        blocks: Residual blocks, grouped by component.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        parts = len(COMPONENTS)
        self.expand = conv1(channels, parts * channels)
        self.blocks = nn.Sequential(*(ResidualBlock(parts * channels, groups=parts, slope=0.2) for _ in range(blocks)))

    def forward(self, x: Tensor, components: Tensor) -> Tensor:
        """Returns the fused feature, (B, C, H, W).

        Args:
            x: Feature, (B, C, H, W).
            components: Heatmaps of the components, (B, 5, H, W).
        """
        parts = self.blocks(F.leaky_relu(self.expand(x), 0.2)).unflatten(1, (len(COMPONENTS), -1))
        return in_format_of(x, (parts * components.softmax(1).unsqueeze(2)).sum(1))


class FeedbackHourglass(nn.Module):
    """Estimates heatmaps at 1/4 of the face's resolution, with a recurrent state between the steps.

    Args:
        features: Width of the state; the hourglass is twice as wide.
        keypoints: Number of heatmaps.
    """

    def __init__(self, features: int, keypoints: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, features // 4, kernel_size=7, stride=2, padding=3),
            nn.ReLU(),
            BottleneckBlock(features // 4, features // 2),
            nn.MaxPool2d(2),
            BottleneckBlock(features // 2, features // 2),
            BottleneckBlock(features // 2, features),
        )
        self.compress = conv1(2 * features, 2 * features)
        level: nn.Module = BottleneckBlock(2 * features, 2 * features)
        for _ in range(_LEVELS):
            level = _hourglass_level(2 * features, level)
        self.levels = level
        self.predict = nn.Sequential(
            BottleneckBlock(features, features), conv1(features, features), nn.ReLU(), conv1(features, keypoints)
        )

    def forward(self, face: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the heatmaps and the state for the next step.

        Args:
            face: Restored face minus the mean colour, (B, 3, H, W).
            state: State of the previous step, (B, features, H / 4, W / 4); None at the first step, which uses the
                feature of the face instead.

        Returns:
            Heatmaps (B, keypoints, H / 4, W / 4), whose targets are Gaussians of height 1, and the state.
        """
        x = self.stem(face)
        x = self.levels(self.compress(torch.cat([x, x if state is None else state], dim=1)))
        read, state = x.chunk(2, dim=1)
        return self.predict(read), state


class DIC(SRNetwork):
    """Restores faces in several steps; the landmark heatmaps estimated in one step guide the next.

    Args:
        scale: Enlargement from LR to HR. Only 8, because the heatmaps (1/4 of the HR resolution) and the features
            (twice the LR resolution) need the same size.
        steps: Number of steps; the first has no heatmaps.
        features: Width of the restoration branch.
        groups: Pairs of up and down projections in each feedback block.
        fusion_blocks: Residual blocks of the attentive fusion.
        hourglass_features: Width of the landmark estimation, a multiple of 4.
        keypoints: Estimated heatmaps: 68 landmarks (the paper), merged into the 5 components of `COMPONENTS`, or, for
            data without landmarks, the 5 components themselves (this package's option).

    Raises:
        ConfigError: If an argument is out of range.

    Example:
        >>> net = DIC(steps=2, features=4, groups=2, fusion_blocks=1, hourglass_features=8)
        >>> output = net(torch.rand(1, 3, 8, 8))
        >>> output.sr.shape, list(output.extras)
        (torch.Size([1, 3, 64, 64]), ['heatmaps1', 'sr1', 'heatmaps2'])
    """

    compiled_blocks = (DenseProjections, AttentiveFusion, FeedbackHourglass)

    def __init__(
        self,
        *,
        scale: Count = 8,
        steps: Count = 4,
        features: Count = 48,
        groups: Count = 6,
        fusion_blocks: Count = 7,
        hourglass_features: Count = 256,
        keypoints: Count = 68,
    ) -> None:
        super().__init__()
        if scale != 8:
            raise ConfigError(f"DIC supports scale=8 only, found scale={scale}: its heatmaps match its features at x8.")
        if steps < 2:
            raise ConfigError(f"DIC is iterative: steps has to be 2 or more, found {steps}.")
        if keypoints not in (68, len(COMPONENTS)):
            raise ConfigError(f"keypoints has to be 68 (landmarks) or 5 (components), found {keypoints}.")
        if min(features, groups) < 1 or fusion_blocks < 0 or hourglass_features < 4 or hourglass_features % 4:
            raise ConfigError(
                f"features={features} and groups={groups} have to be 1 or more, fusion_blocks={fusion_blocks} 0 or "
                f"more, hourglass_features={hourglass_features} a multiple of 4."
            )
        self.scale, self.steps = scale, steps
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(RGB_MEAN).view(1, 3, 1, 1), persistent=False)
        self.head = nn.Sequential(conv3(3, 4 * features), nn.PReLU(init=0.2), PixelShuffle(2))
        self.first_compress = _projection(features, features)
        self.first_block = DenseProjections(features, groups, scale)
        self.compress = _projection(2 * features, features)
        self.fusion = AttentiveFusion(features, fusion_blocks)
        self.block = DenseProjections(features, groups, scale)
        self.tail = nn.Sequential(*_up(features, scale // 2), conv3(features, 3))
        init_kaiming(self)
        self.hourglass = FeedbackHourglass(hourglass_features, keypoints)  # after init_kaiming: keeps PyTorch's default

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W); H and W are multiples of 8.

        Returns:
            `sr` (B, 3, 8H, 8W) of the last step; as features, the output of each step's feedback block, `step1`..., (B,
            features, 2H, 2W); as extras, `sr1`... of the steps before the last, like `sr`, and `heatmaps1`... of every
            step, (B, keypoints, 2H, 2W).
        """
        require_image(lr, scale=self.scale, multiple=4 * 2**_LEVELS)
        normalised = lr - self.mean
        enlarged = F.interpolate(normalised, scale_factor=self.scale, mode="bilinear", align_corners=False)
        x = self.head(normalised)

        features: dict[str, Tensor] = {}
        extras: dict[str, Tensor] = {}
        hidden = self.first_block(self.first_compress(x))
        face = enlarged + self.tail(hidden)
        heatmaps, state = self.hourglass(face, None)
        features["step1"], extras["heatmaps1"] = hidden, heatmaps
        for step in range(2, self.steps + 1):
            extras[f"sr{step - 1}"] = face + self.mean
            compressed = self.compress(torch.cat([x, hidden], dim=1))
            hidden = self.block(self.fusion(compressed, merge_heatmaps(heatmaps)))
            face = enlarged + self.tail(hidden)
            heatmaps, state = self.hourglass(face, state)
            features[f"step{step}"], extras[f"heatmaps{step}"] = hidden, heatmaps
        return SROutput(face + self.mean, features, extras)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        return None if weights is None else PublishedWeights(weights)


def merge_heatmaps(heatmaps: Tensor) -> Tensor:
    """Returns the heatmaps of the 5 components of the face.

    Args:
        heatmaps: Of 68 landmarks or of the 5 components, (B, K, H, W).

    Returns:
        (B, 5, H, W), in the order of `COMPONENTS`: the heatmaps divided by their maximum (at least 0.05); those of
        landmarks are summed by component.
    """
    scaled = heatmaps / heatmaps.amax((-2, -1), keepdim=True).clamp_min(0.05)
    if heatmaps.shape[1] == len(COMPONENTS):
        return scaled
    return torch.stack([scaled[:, landmarks].sum(1) for landmarks in COMPONENTS.values()], dim=1)


def init_kaiming(net: nn.Module) -> None:
    """Initialises convolutions and linear layers with Kaiming normal weights and zero biases."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the public code's weights under this package's names, or None if they belong to another network.

    | public code                                    | here                                           |
    |------------------------------------------------|------------------------------------------------|
    | `conv_in`, `out` and `conv_out`                | `head`, `tail`                                 |
    | `first_block.compress_in`, `block.compress_in` | `first_compress`, `compress`                   |
    | `*block.upBlocks`, `downBlocks`                | `*block.ups`, `downs`                          |
    | `*block.uptranBlocks`, `downtranBlocks`        | `*block.up_merges`, `down_merges`              |
    | `*block.compress_out`                          | `*block.compress`                              |
    | `block.fusion_block.conv_in.0`, `resnet.i.res` | `fusion.expand`, `fusion.blocks.i`             |
    | `HG.pre_conv_block`, `HG.compress_in`          | `hourglass.stem`, `hourglass.compress`         |
    | `HG.hg.resN_1`, `_2`, `_3` (N=4: outermost)    | `hourglass.levels[.inner]*.skip`, `down`, `up` |
    | `HG.hg.res_center`                             | `hourglass.levels.inner.inner.inner.inner`     |
    | `HG.hg_conv_out`                               | `hourglass.predict`                            |
    | `conv_block.0`, `2`, `3`, `skip_layer`         | `reduce`, `conv`, `expand`, `skip`             |

    Nothing is dropped.

    Args:
        state: State dict of the public code's DIC or DICGAN generator; keys may begin with `module.` or `model.`.
    """
    names = {_our_name(re.sub(r"^((module|model)\.)+", "", name)): tensor for name, tensor in state.items()}
    with torch.random.fork_rng(devices=[]):  # reading a file must not change the random state
        expected = DIC(features=1, hourglass_features=4).state_dict()  # the names do not depend on the widths
    return names if names.keys() == expected.keys() else None


_RENAMES: Final = (
    (r"^conv_in\.", "head."),
    (r"^conv_out\.0\.", "tail.2."),
    (r"^out\.", "tail."),
    (r"^first_block\.compress_in\.", "first_compress."),
    (r"^block\.compress_in\.", "compress."),
    (r"^block\.fusion_block\.conv_in\.0\.", "fusion.expand."),
    (r"^block\.fusion_block\.resnet\.(\d+)\.res\.0\.", r"fusion.blocks.\1.conv_in."),
    (r"^block\.fusion_block\.resnet\.(\d+)\.res\.2\.", r"fusion.blocks.\1.conv_out."),
    (r"\.upBlocks\.", ".ups."),
    (r"\.downBlocks\.", ".downs."),
    (r"\.uptranBlocks\.", ".up_merges."),
    (r"\.downtranBlocks\.", ".down_merges."),
    (r"block\.compress_out\.", "block.compress."),
    (r"^HG\.pre_conv_block\.", "hourglass.stem."),
    (r"^HG\.compress_in\.", "hourglass.compress."),
    (r"^HG\.hg_conv_out\.0\.", "hourglass.predict.0."),
    (r"^HG\.hg_conv_out\.1\.conv_block\.0\.", "hourglass.predict.1."),
    (r"^HG\.hg_conv_out\.2\.", "hourglass.predict.3."),
    (r"^HG\.hg\.res_center\.", "hourglass.levels" + _LEVELS * ".inner" + "."),
    *(
        (rf"^HG\.hg\.res{level}_{number}\.", f"hourglass.levels{(_LEVELS - level) * '.inner'}.{part}.")
        for level in range(1, _LEVELS + 1)
        for number, part in enumerate(("skip", "down.1", "up.0"), start=1)
    ),
    (r"\.conv_block\.0\.", ".reduce."),
    (r"\.conv_block\.2\.", ".conv."),
    (r"\.conv_block\.3\.", ".expand."),
    (r"\.skip_layer\.", ".skip."),
)


def _our_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(conv1(in_channels, out_channels), nn.PReLU(init=0.2))


def _up(channels: int, factor: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(channels, channels, factor + 4, factor, padding=2), nn.PReLU(init=0.2))


def _down(channels: int, factor: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, channels, factor + 4, factor, padding=2), nn.PReLU(init=0.2))


def _hourglass_level(channels: int, inner: nn.Module) -> Hourglass:
    return Hourglass(
        skip=BottleneckBlock(channels, channels),
        down=nn.Sequential(nn.MaxPool2d(2), BottleneckBlock(channels, channels)),
        inner=inner,
        up=nn.Sequential(
            BottleneckBlock(channels, channels), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        ),
    )
