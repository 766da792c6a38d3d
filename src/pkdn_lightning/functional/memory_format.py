"""Operations that keep the channels-last memory format where torch's own return channels-first memory.

Behind those, a network in channels-last format would convert every feature back.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Returns `F.pixel_shuffle(x, factor)`, (B, C, H * factor, W * factor), in the memory format of `x`."""
    return shuffled_channels_last(x, factor) if _loses_format(x) else F.pixel_shuffle(x, factor)


def pixel_unshuffle(x: Tensor, factor: int) -> Tensor:
    """Returns `F.pixel_unshuffle(x, factor)`, (B, C * factor², H / factor, W / factor), in the memory format of `x`."""
    return unshuffled_channels_last(x, factor) if _loses_format(x) else F.pixel_unshuffle(x, factor)


class PixelShuffle(nn.PixelShuffle):
    """`torch.nn.PixelShuffle` that keeps the memory format."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns `pixel_shuffle(x, upscale_factor)`."""
        return pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(nn.PixelUnshuffle):
    """`torch.nn.PixelUnshuffle` that keeps the memory format."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns `pixel_unshuffle(x, downscale_factor)`."""
        return pixel_unshuffle(x, self.downscale_factor)


def in_format_of(model: Tensor, x: Tensor) -> Tensor:
    """Returns `x` in channels-last format if `model` has it, else unchanged; both are (B, C, H, W)."""
    last = model.is_contiguous(memory_format=torch.channels_last) and not model.is_contiguous()
    return x.contiguous(memory_format=torch.channels_last) if last else x


def shuffled_channels_last(x: Tensor, factor: int) -> Tensor:
    """Returns `F.pixel_shuffle(x, factor)` in channels-last format, by one copy if `x` has that format."""
    batch, channels, height, width = x.shape
    kept = channels // factor**2
    parts = x.permute(0, 2, 3, 1).view(batch, height, width, kept, factor, factor)  # (B, H, W, C, row, column)
    rows = parts.permute(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, kept)
    return rows.permute(0, 3, 1, 2)


def unshuffled_channels_last(x: Tensor, factor: int) -> Tensor:
    """Returns `F.pixel_unshuffle(x, factor)` in channels-last format, by one copy if `x` has that format."""
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).view(batch, height // factor, factor, width // factor, factor, channels)
    parts = rows.permute(0, 1, 3, 5, 2, 4)  # (B, H, row, W, column, C) -> (B, H, W, C, row, column)
    return parts.reshape(batch, height // factor, width // factor, channels * factor**2).permute(0, 3, 1, 2)


def _loses_format(x: Tensor) -> bool:
    """Returns whether torch's shuffles change the format of `x`, as they do on CUDA."""
    return x.device.type == "cuda" and x.is_contiguous(memory_format=torch.channels_last)
