"""Building blocks shared by the networks.

RCAB and RCAG are RCAN's (Zhang et al. 2018, https://arxiv.org/abs/1807.02758) as used by KDFSRNet. The parsing map
fusion block (PFB) and the feature fusion block (FFB) are PKDN's (https://arxiv.org/abs/2409.14385, sections 3.1 to
3.3); details missing in the paper follow FishFSRNet (Wang et al. 2023), from which both are derived.

Unless stated otherwise, convolutions have stride 1, same padding and a bias, and there is no normalisation.
"""

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.functional.memory_format import pixel_shuffle, pixel_unshuffle

ChannelAttentionKind = Literal["fish", "cbam", "rcan", "none"]
SpatialAttentionKind = Literal["csar", "cbam", "none"]


def conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Returns a 3x3 convolution that keeps the image's size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def conv1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Returns a 1x1 convolution."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1)


_POOLS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "mean": lambda x: x.mean((-2, -1), keepdim=True),
    "max": lambda x: x.amax((-2, -1), keepdim=True),
    "variance": lambda x: _variance(x),
}


def _variance(x: Tensor) -> Tensor:
    """Returns the population variance of each channel, (B, C, 1, 1)."""
    if x.device.type != "cpu":
        return x.var((-2, -1), keepdim=True, unbiased=False)
    # On a CPU `var` takes four times as long as these two passes, which agree with it to a relative 1e-6.
    return (x - x.mean((-2, -1), keepdim=True)).square().mean((-2, -1), keepdim=True)


_CHANNEL_ATTENTION: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "fish": (("mean", "max", "variance"), 4),  # FishFSRNet
    "cbam": (("mean", "max"), 16),
    "rcan": (("mean",), 16),
    "none": ((), 1),
}


class ChannelAttention(nn.Module):
    """Scales each channel by a gate computed from its pooled statistics.

    The gate is the sigmoid of the sum over the statistics, each passed through a shared two-layer perceptron.

    Args:
        channels: Width of the feature.
        kind: `fish` pools mean, maximum and population variance with reduction 4 (FishFSRNet); `cbam` mean and
            maximum with reduction 16; `rcan` the mean with reduction 16; `none` is the identity.
    """

    def __init__(self, channels: int, kind: ChannelAttentionKind = "fish") -> None:
        super().__init__()
        self.pools, reduction = _CHANNEL_ATTENTION[kind]
        if kind == "none":
            return
        hidden = max(4, channels // reduction)  # RCAN's at width 64; of one or two ReLUs, many are dead from the start
        self.squeeze = conv1(channels, hidden)
        self.excite = conv1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x` with its channels gated, (B, C, H, W)."""
        if not self.pools:
            return x
        statistics = [self.excite(F.relu(self.squeeze(_POOLS[pool](x)))) for pool in self.pools]
        return x * torch.sigmoid(reduce(torch.add, statistics))


class CSARAttention(nn.Module):
    """Scales every pixel of every channel by a gate from two 1x1 convolutions (FishFSRNet's spatial attention).

    Args:
        channels: Width of the feature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = conv1(channels, 2 * channels)
        self.project = conv1(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x` gated per pixel and channel, (B, C, H, W)."""
        return x * torch.sigmoid(self.project(F.relu(self.expand(x))))


class CBAMSpatialAttention(nn.Module):
    """Scales every pixel by a gate from the channels' maximum and mean (Woo et al. 2018, section 3).

    Args:
        channels: Unused; kept for the same signature as the other kinds.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x` gated per pixel, (B, C, H, W)."""
        statistics = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.conv(statistics))


_SPATIAL_ATTENTION: Final[dict[str, type[nn.Module]]] = {
    "csar": CSARAttention,
    "cbam": CBAMSpatialAttention,
    "none": nn.Identity,
}


class ResidualBlock(nn.Module):
    """Residual block: conv3, activation, conv3, plus the input.

    Args:
        channels: Width of the feature.
        bias: Whether the convolutions have a bias.
        norm: Batch norm after each convolution (FSRNet).
        groups: Groups of the convolutions (DIC's fusion).
        slope: Negative slope of the leaky ReLU; 0 is ReLU.
        scale: Factor of the residual branch (0.2 in FishFSRNet's parsing network).
        activate_sum: Activates the sum, too (SFMNet).
    """

    def __init__(
        self,
        channels: int,
        *,
        bias: bool = True,
        norm: bool = False,
        groups: int = 1,
        slope: float = 0.0,
        scale: float = 1.0,
        activate_sum: bool = False,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1, bias=bias, groups=groups)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1, bias=bias, groups=groups)
        self.norm_in = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.norm_out = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.slope, self.scale, self.activate_sum = slope, scale, activate_sum

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        inner = F.leaky_relu(self.norm_in(self.conv_in(x)), self.slope)
        result = x + self.scale * self.norm_out(self.conv_out(inner))
        return F.leaky_relu(result, self.slope) if self.activate_sum else result


class BottleneckBlock(nn.Module):
    """Bottleneck block of hourglass networks: 1x1 to half the width, 3x3, 1x1 to the full width, plus the input.

    Args:
        in_channels: Input width.
        out_channels: Output width; if it differs, the skip connection has a 1x1 convolution.
        norm: Batch norm and ReLU before each convolution (FSRNet); otherwise only ReLU after the first (DIC).
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: bool = False) -> None:
        super().__init__()
        half = out_channels // 2
        self.reduce, self.conv, self.expand = conv1(in_channels, half), conv3(half, half), conv1(half, out_channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in ((in_channels, half, half) if norm else ()))
        self.skip = conv1(in_channels, out_channels) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C', H, W)."""
        if not self.norms:
            return self.skip(x) + self.expand(self.conv(F.relu(self.reduce(x))))
        inner = x
        for norm, conv in zip(self.norms, (self.reduce, self.conv, self.expand), strict=True):
            inner = conv(F.relu(norm(inner)))
        return self.skip(x) + inner


class Hourglass(nn.Module):
    """One level of an hourglass: `skip(x) + up(inner(down(x)))` (Newell et al. 2016).

    `inner` is the next level or the bottom, so an hourglass is built from the inside out. DIC, FSRNet and SPARNet's
    attention use different parts.

    Args:
        skip: Keeps the resolution.
        down: Halves the resolution.
        inner: Works at half the resolution.
        up: Doubles the resolution.
    """

    def __init__(self, *, skip: nn.Module, down: nn.Module, inner: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.skip, self.down, self.inner, self.up = skip, down, inner, up

    def forward(self, x: Tensor) -> Tensor:
        """Returns the feature, with the resolution of `x`."""
        return self.skip(x) + self.up(self.inner(self.down(x)))


class RCAB(nn.Module):
    """Residual channel attention block: conv3, ReLU, conv3, channel attention, plus the input (RCAN, Eq. 9-11).

    Args:
        channels: Width of the feature.
        attention: The channel attention; RCAN's own by default.
    """

    def __init__(self, channels: int, attention: ChannelAttentionKind = "rcan") -> None:
        super().__init__()
        self.conv_in = conv3(channels, channels)
        self.conv_out = conv3(channels, channels)
        self.attention = ChannelAttention(channels, attention)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        return x + self.attention(self.conv_out(F.relu(self.conv_in(x))))


class Cascade(nn.ModuleList):
    """A sequence of blocks that take the feature and the same further inputs.

    With `recompute`, training stores only the inputs of each block and recomputes its activations in the backward pass
    (gradient checkpointing), which saves memory at the cost of another forward pass. Results and parameter names do not
    change.

    Args:
        blocks: The blocks.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__(blocks)
        self.recompute = False

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Returns the output of the last block."""
        for block in self:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, *others, use_reentrant=False, preserve_rng_state=False)  # nothing is random
            else:
                x = block(x, *others)
        return x


def recompute_blocks(net: nn.Module) -> None:
    """Turns on gradient checkpointing in every cascade of a network.

    Raises:
        ConfigError: If the network has no `Cascade`.
    """
    cascades = [module for module in net.modules() if isinstance(module, Cascade)]
    if not cascades:
        raise ConfigError(
            f"module.recompute=true: {type(net).__name__} has no blocks that support recomputation. Leave the option "
            "out, or save memory with a smaller data.batch_size and trainer.accumulate_grad_batches."
        )
    for cascade in cascades:
        cascade.recompute = True


class RCAG(Cascade):
    """Residual channel attention group as in KDFSRNet: a sequence of RCABs without a skip connection.

    Args:
        channels: Width of the feature.
        blocks: Number of RCABs.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__(RCAB(channels) for _ in range(blocks))


class Down(nn.Module):
    """Halves the resolution: pixel unshuffle, then conv3 from 4C to C; no activation.

    Args:
        channels: Width of the feature before and after.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, H / 2, W / 2)."""
        return self.conv(pixel_unshuffle(x, 2))

    def as_convolution(self) -> nn.Conv2d:
        """Returns an equivalent single convolution with stride 2."""
        out, channels, kernel = self.conv.out_channels, self.conv.in_channels // 4, self.conv.kernel_size[0]
        single = nn.Conv2d(channels, out, 2 * kernel, stride=2, padding=2 * (kernel // 2))
        parts = self.conv.weight.detach().view(out, channels, 2, 2, kernel, kernel)  # (out, C, row, column, k, k)
        single.weight.data = parts.permute(0, 1, 4, 2, 5, 3).reshape(single.weight.shape)
        single.bias = self.conv.bias
        return single


class Up(nn.Module):
    """Doubles the resolution: conv3 from C to 4C, then pixel shuffle; no activation.

    Args:
        channels: Width of the feature before and after.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, C, H * 2, W * 2)."""
        return pixel_shuffle(self.conv(x), 2)


class PFB(nn.Module):
    """Parsing map fusion block (PKDN, section 3.3).

    The feature and the resized parsing map are projected, concatenated and fused. Channel and spatial attention are
    applied to the result in parallel; their outputs are concatenated, fused, and added to the feature.

    Args:
        channels: Width of the feature.
        parsing_channels: Channels of the encoded parsing map.
        channel_attention: See `ChannelAttention`.
        spatial_attention: `csar` gates pixels and channels (FishFSRNet); `cbam` gates pixels; `none` is the identity.
    """

    def __init__(
        self,
        channels: int,
        parsing_channels: int,
        channel_attention: ChannelAttentionKind = "fish",
        spatial_attention: SpatialAttentionKind = "csar",
    ) -> None:
        super().__init__()
        self.project_feature = conv3(channels, channels)
        self.project_parsing = conv3(parsing_channels, channels)
        self.fuse = conv3(2 * channels, channels)
        self.channel_attention = ChannelAttention(channels, channel_attention)
        self.spatial_attention = _SPATIAL_ATTENTION[spatial_attention](channels)
        self.fuse_attention = conv1(2 * channels, channels)

    def forward(self, x: Tensor, parsing: Tensor) -> Tensor:
        """Returns the fused feature, (B, C, H, W).

        Args:
            x: Feature, (B, C, H, W).
            parsing: Encoded parsing map of any size, (B, P, H', W'); resized to that of `x` by nearest neighbour.
        """
        parsing = F.interpolate(parsing, size=x.shape[-2:], mode="nearest")
        projected = [F.relu(self.project_feature(x)), F.relu(self.project_parsing(parsing))]
        fused = self.fuse(torch.cat(projected, dim=1))
        attended = [self.channel_attention(fused), self.spatial_attention(fused)]
        return x + self.fuse_attention(torch.cat(attended, dim=1))


class FFB(nn.Module):
    """Feature fusion block (PKDN, Figure 2): fuses a retained encoder feature into a decoder feature.

    The difference between the two passes residual blocks (the "error feedback" projection) and is added to the decoder
    feature; channel attention refines the sum.

    Args:
        channels: Width of both features.
        residual_blocks: Number of residual blocks in the projection.
        channel_attention: See `ChannelAttention`.
        skip: Adds the decoder feature once more at the end, as FishFSRNet does; PKDN's text does not specify it.
    """

    def __init__(
        self,
        channels: int,
        residual_blocks: int = 2,
        channel_attention: ChannelAttentionKind = "fish",
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.project = Cascade(ResidualBlock(channels) for _ in range(residual_blocks))
        self.attention = ChannelAttention(channels, channel_attention)
        self.skip = skip

    def forward(self, x: Tensor, retained: Tensor) -> Tensor:
        """Returns the fused feature; `x`, `retained` and the result are (B, C, H, W)."""
        refined = self.attention(x + self.project(x - retained))
        return refined + x if self.skip else refined
