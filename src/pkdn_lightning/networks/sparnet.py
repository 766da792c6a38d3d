"""SPARNet (Chen et al., "Learning Spatial Attention for Face Super-Resolution", IEEE TIP 30, 2021).

Paper: https://arxiv.org/abs/2012.01211. Public code: chaofengc/Face-SPARNet (CC BY-NC-SA 4.0; nothing is copied). An
auto-encoder over the bicubically upsampled LR face. Each of its blocks, the face attention units (FAU), is scaled by
spatial attention from an hourglass, which combines resolutions from 4x4 up to that of the block.

The defaults are the network that the authors released (10.52 million parameters), a later and better version than the
paper's, which has 9.86 million and is not public. They also released a light one with attention per pixel and channel:
`attention="spar3d", res_depth=1` (5.24 million).

Differences from the public code: inputs and outputs are in [0, 1] and converted to its [-1, 1] internally; the network
upsamples the LR face itself (the code rounds the upsampled image to 8 bits); and sizes that cannot be halved exactly
are an error (the code's hourglass resizes its features).

The published training: L1, Adam 2e-4 with betas (0.9, 0.99), batches of 32, 21 epochs at a constant rate: the code
never steps its schedule, which would decay linearly in the last 10.
"""

import re
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.networks.blocks import Hourglass
from pkdn_lightning.networks.contract import PublishedWeights, SRNetwork, SROutput, require_image
from pkdn_lightning.networks.published_weights import count_modules, rename
from pkdn_lightning.values import Count

AttentionKind = Literal["spar", "spar3d"]
Resampling = Literal["down", "up"]

_HALVINGS = 5  # from the HR face to the bottom of the deepest hourglass


class ConvLayer(nn.Module):
    """conv3 with reflection padding, optional resampling and batch norm.

    Args:
        in_channels: Input width.
        out_channels: Output width.
        resampling: `up` doubles the resolution by nearest neighbour first, `down` uses stride 2.
        norm: Batch norm after the convolution, which then has no bias.
        activate: Leaky ReLU (0.2) at the end.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resampling: Resampling | None = None,
        *,
        norm: bool = True,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.enlarge, self.activate = resampling == "up", activate
        stride = 2 if resampling == "down" else 1
        self.conv = nn.Conv2d(
            in_channels, out_channels, 3, stride=stride, padding=1, padding_mode="reflect", bias=not norm
        )
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the feature, (B, C', H', W')."""
        if self.enlarge:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.norm(self.conv(x))
        return F.leaky_relu(x, 0.2) if self.activate else x


class SpatialAttention(nn.Module):
    """Scales a feature by a gate from an hourglass.

    Args:
        channels: Width of the feature.
        width: Width of the hourglass.
        depth: Number of halvings in the hourglass.
        kind: `spar` gates pixels, `spar3d` pixels and channels.
    """

    def __init__(self, channels: int, width: int, depth: int, kind: AttentionKind) -> None:
        super().__init__()
        inner: nn.Module = ConvLayer(width, width)
        for level in range(depth):
            before = channels if level == depth - 1 else width  # the outermost level is built last
            inner = Hourglass(
                skip=ConvLayer(before, width),
                down=ConvLayer(before, width, "down"),
                inner=inner,
                up=ConvLayer(width, width, "up"),
            )
        self.hourglass = inner
        self.gate = ConvLayer(width, 1 if kind == "spar" else channels, norm=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x` gated, (B, C, H, W)."""
        return x * torch.sigmoid(self.gate(self.hourglass(x)))


class FaceAttentionUnit(nn.Module):
    """Face attention unit (FAU): two convolutions and spatial attention, plus the input.

    Args:
        in_channels: Input width.
        out_channels: Output width.
        resampling: See `ConvLayer`; `up` applies to the first convolution, `down` to the second.
        attention_width: See `SpatialAttention`.
        depth: See `SpatialAttention`.
        attention: See `SpatialAttention`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        resampling: Resampling | None = None,
        *,
        attention_width: int,
        depth: int,
        attention: AttentionKind,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv_in = ConvLayer(in_channels, out_channels, "up" if resampling == "up" else None)
        self.conv_out = ConvLayer(out_channels, out_channels, "down" if resampling == "down" else None, activate=False)
        self.attention = SpatialAttention(out_channels, attention_width, depth, attention)
        self.shortcut: nn.Module = nn.Identity()
        if resampling or in_channels != out_channels:
            self.shortcut = ConvLayer(in_channels, out_channels, resampling, norm=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C', H', W')."""
        inner = self.conv_out(self.conv_in(F.leaky_relu(self.norm(x), 0.2)))
        return self.shortcut(x) + self.attention(inner)


class SPARNet(SRNetwork):
    """SPARNet: three units that halve the resolution, `res_depth` that keep it, three that double it.

    Initialised as published: convolutions normal (0, 0.02) without bias, batch norm's weights normal (1, 0.02).

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels at full resolution; they double with each halving.
        max_width: Maximum of the feature channels.
        res_depth: Units at the smallest resolution.
        attention: `spar` gates pixels, `spar3d` pixels and channels.
        attention_width: Feature channels of the hourglasses.

    Raises:
        ConfigError: If `scale`, a width or `res_depth` is below 1, or `attention` is unknown.

    Example:
        >>> net = SPARNet(width=4, max_width=8, attention_width=4, res_depth=1)
        >>> list(net(torch.rand(1, 3, 16, 16)).features)
        ['down1', 'down2', 'down3', 'body', 'up1', 'up2', 'up3']
    """

    compiled_blocks = (FaceAttentionUnit,)

    def __init__(
        self,
        *,
        scale: Count = 8,
        width: Count = 32,
        max_width: Count = 128,
        res_depth: Count = 10,
        attention: AttentionKind = "spar",
        attention_width: Count = 64,
    ) -> None:
        super().__init__()
        if min(scale, width, max_width, res_depth, attention_width) < 1:
            raise ConfigError(
                f"scale={scale}, width={width}, max_width={max_width}, res_depth={res_depth} and "
                f"attention_width={attention_width} have to be 1 or more."
            )
        if attention not in ("spar", "spar3d"):
            raise ConfigError(f"Unknown attention '{attention}'. Expected spar (2D) or spar3d.")

        def unit(before: int, after: int, resampling: Resampling | None, depth: int) -> FaceAttentionUnit:
            # The depth depends on the resolution, so that every hourglass reaches 4x4 for faces of 128 px.
            return FaceAttentionUnit(
                before, after, resampling, attention_width=attention_width, depth=depth, attention=attention
            )

        self.scale = scale
        widths = [min(width * 2**level, max_width) for level in range(4)]
        bottom = widths[-1]
        self.head = ConvLayer(3, widths[0], norm=False, activate=False)
        self.down = nn.ModuleList(unit(widths[n], widths[n + 1], "down", 4 - n) for n in range(3))
        self.body = nn.Sequential(*(unit(bottom, bottom, None, 2) for _ in range(res_depth)))
        self.up = nn.ModuleList(unit(widths[3 - n], widths[2 - n], "up", 3 + n) for n in range(3))
        self.tail = ConvLayer(widths[0], 3, norm=False, activate=False)
        self.apply(_initialise)

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).

        Returns:
            `sr` (B, 3, H * scale, W * scale), and the features `down1` to `down3`, `body`, `up1` to `up3`.

        Raises:
            ShapeError: If a side of the HR face is not divisible by 32 or is below 64.
        """
        require_image(lr, scale=self.scale, multiple=2**_HALVINGS)
        height, width = lr.shape[-2] * self.scale, lr.shape[-1] * self.scale
        if min(height, width) < 2 ** (_HALVINGS + 1):
            raise ShapeError(
                f"LR {lr.shape[-2]}x{lr.shape[-1]} enlarged x{self.scale} is {height}x{width}, but SPARNet needs "
                f"{2 ** (_HALVINGS + 1)} pixels at least: reflection padding cannot pad a single pixel at the bottom "
                "of its hourglasses."
            )
        x = self.head(bicubic(lr, (height, width)) * 2 - 1)
        features: dict[str, Tensor] = {}
        for number, unit in enumerate(self.down, start=1):
            x = features[f"down{number}"] = unit(x)
        x = features["body"] = self.body(x)
        for number, unit in enumerate(self.up, start=1):
            x = features[f"up{number}"] = unit(x)
        return SROutput((self.tail(x) + 1) / 2, features, {})

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        if weights is None:
            return None
        gates = weights["up.2.attention.gate.conv.weight"].shape[0]
        attention = "spar" if gates == 1 else "spar3d"
        return PublishedWeights(weights, {"res_depth": count_modules(weights, "body.#."), "attention": attention})


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_LEVEL = {"b1": ".skip", "b2": ".down", "b2_plus": ".inner", "b3": ".up"}
_KIND = {"conv2d": "conv", "norm.norm": "norm"}


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the public code's state dict under this package's names, or None if it belongs to another network.

    `l` counts an hourglass's levels, 1 is the innermost:

    | published                             | here                                                         |
    |---------------------------------------|--------------------------------------------------------------|
    | `encoder.0`, `out_conv`               | `head`, `tail`                                               |
    | `encoder.n`, n from 1                 | `down.{n-1}`                                                 |
    | `res_layers.n`                        | `body.n`                                                     |
    | `decoder.n`                           | `up.n`                                                       |
    | in a unit: `preact_func.0.norm`       | `norm`                                                       |
    | `shortcut_func`, `conv1`, `conv2`     | `shortcut`, `conv_in`, `conv_out`                            |
    | `att_func.b1_l`, `.b2_l`, `.b3_l`     | `attention.hourglass[.inner]*.skip`, `.down`, `.up`          |
    | `att_func.b2_plus_1`                  | `attention.hourglass[.inner]*`, one `.inner` per level       |
    | `att_func.out_block.0`                | `attention.gate`                                             |
    | in a layer: `conv2d`, `norm.norm`     | `conv`, `norm`                                               |

    Args:
        state: As published, also for the light network, with or without the prefixes `module.` and `model.`.
    """
    unit, layer = r"(encoder|res_layers|decoder)\.(\d+)", r"(conv2d|norm\.norm)\.(\w+)"
    return rename(
        state,
        {
            r"encoder\.0\.conv2d\.(weight|bias)": r"head.conv.\1",
            rf"{unit}\.preact_func\.0\.norm\.(\w+)": lambda m: f"{_place(m)}.norm.{m[3]}",
            rf"{unit}\.shortcut_func\.{layer}": lambda m: f"{_place(m)}.shortcut.{_KIND[m[3]]}.{m[4]}",
            rf"{unit}\.conv1\.{layer}": lambda m: f"{_place(m)}.conv_in.{_KIND[m[3]]}.{m[4]}",
            rf"{unit}\.conv2\.{layer}": lambda m: f"{_place(m)}.conv_out.{_KIND[m[3]]}.{m[4]}",
            rf"{unit}\.att_func\.out_block\.0\.{layer}": lambda m: f"{_place(m)}.attention.gate.{_KIND[m[3]]}.{m[4]}",
            rf"{unit}\.att_func\.(b1|b2|b2_plus|b3)_(\d)\.{layer}": lambda m: (
                f"{_place(m)}.attention.hourglass{'.inner' * (_depth(m) - int(m[4]))}{_LEVEL[m[3]]}"
                f".{_KIND[m[5]]}.{m[6]}"
            ),
            r"out_conv\.conv2d\.(weight|bias)": r"tail.conv.\1",
        },
    )


def _place(match: re.Match[str]) -> str:
    """Returns a unit's name in this package."""
    number = int(match[2])
    return {"encoder": f"down.{number - 1}", "res_layers": f"body.{number}", "decoder": f"up.{number}"}[match[1]]


def _depth(match: re.Match[str]) -> int:
    """Returns the depth of a unit's hourglass."""
    number = int(match[2])
    return {"encoder": 5 - number, "res_layers": 2, "decoder": 3 + number}[match[1]]
