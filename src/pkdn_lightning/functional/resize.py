"""Antialiased bicubic resizing, equal to Pillow's or to MATLAB's, as two small matrix products.

Published results use one of these two for downsampling. Other implementations differ by up to 1.4 dB (without
antialiasing) or 10 grey levels at the border. Both use the kernel of Keys with a = -0.5, widened by the scale when
downsampling, and differ in three points:

| mode     | beyond the border            | first pass                                | weights for 8 bits  |
|----------|------------------------------|-------------------------------------------|---------------------|
| `pil`    | kernel clipped, renormalised | horizontal                                | multiples of 2^-22  |
| `matlab` | image mirrored               | the side that shrinks most, else vertical | double              |

Pillow 13 starts with the vertical pass if the height shrinks much more than the width; `pil` keeps the order of earlier
versions. The two agree if both sides have the same scale, as everywhere in this package.

Reference:
    R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981;
    Pillow's `Image.resize(size, BICUBIC)`; MATLAB's `imresize(image, size)`.
"""

import math
from contextlib import nullcontext

import torch
from torch import Tensor

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.constants import constant
from pkdn_lightning.functional.modes import MODES, Mode


def widest_float(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 on Apple's MPS, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def bicubic(images: Tensor, size: tuple[int, int], *, mode: Mode = "pil", round_8bit: bool = False) -> Tensor:
    """Returns images resized by antialiased bicubic interpolation.

    Args:
        images: Any float type, (..., H, W), in [0, 1].
        size: Height and width of the result, in pixels.
        mode: Library to reproduce: borders, order of passes and arithmetic.
        round_8bit: Reproduces the resizing of 8-bit images: `images` and the result of each pass are rounded and
            clipped to multiples of 1/255, and the gradient is zero. Otherwise nothing is rounded or clipped; bicubic
            overshoots, so results may leave [0, 1].

    Returns:
        (..., *size), in the dtype of `images`.

    Raises:
        ShapeError: If a side of `images` or `size` is below 1.
        ConfigError: If `mode` is unknown.
        TypeError: If `images` holds integers.

    Example:
        >>> bicubic(torch.rand(2, 3, 16, 16), (128, 128)).shape
        torch.Size([2, 3, 128, 128])
    """
    height, width = images.shape[-2:]
    if not images.is_floating_point():
        raise TypeError(f"bicubic resizes float images in [0, 1], found {images.dtype}: divide by 255 first.")
    _check((height, width), size, mode)
    levels = images.to(widest_float(images.device))
    levels = _resized_8bit(_rounded(levels * 255), size, mode) / 255 if round_8bit else _resized(levels, size, mode)
    return levels.to(images.dtype)


def bicubic_8bit(images: Tensor, size: tuple[int, int], *, mode: Mode = "pil") -> Tensor:
    """Returns `bicubic` with `round_8bit` of uint8 images.

    Args:
        images: uint8, (..., H, W).
        size: Height and width of the result, in pixels.
        mode: As in `bicubic`.

    Returns:
        (..., *size) float32 in [0, 1], values k/255.

    Raises:
        ShapeError: As `bicubic`.
        ConfigError: As `bicubic`.
    """
    height, width = (int(side) for side in images.shape[-2:])
    _check((height, width), size, mode)
    # The products need contiguous memory; copying uint8 is cheaper than copying float32 later.
    return (_resized_8bit(images.contiguous(), size, mode) / 255).float()


def _resized(levels: Tensor, size: tuple[int, int], mode: Mode, *, round_8bit: bool = False) -> Tensor:
    """Returns levels (..., H, W) in the widest float type, resized to `size`, optionally rounded after each pass.

    Double, because TF32 or autocast would reduce the precision of a float32 product by 13 or 16 bits; the products are
    too small for the cost to matter.
    """
    height, width = levels.shape[-2:]
    horizontal_first = mode == "pil" or size[1] * height < size[0] * width
    with nullcontext() if levels.dtype == torch.float64 else torch.autocast(levels.device.type, enabled=False):
        for horizontal in (horizontal_first, not horizontal_first):
            if horizontal:  # weights on the left: BLAS libraries are twice as fast with so few rows
                levels = (_weights(width, size[1], mode, levels.device, levels.dtype) @ levels.mT).mT
            else:
                levels = _weights(height, size[0], mode, levels.device, levels.dtype) @ levels
            if round_8bit:
                levels = _rounded(levels)
    return levels


def _resized_8bit(levels: Tensor, size: tuple[int, int], mode: Mode) -> Tensor:
    """Returns integer grey levels (..., H, W) of any dtype, resized to `size` in 8 bits, in a float dtype.

    MATLAB's weights are double. Pillow's are multiples of 2^-22, for which float32 suffices (`_fixed_point_pass`); it
    takes half the time and is supported on all devices.
    """
    if mode == "matlab":
        return _resized(levels.to(widest_float(levels.device)), size, mode, round_8bit=True)
    with torch.autocast(levels.device.type, enabled=False):
        levels = _fixed_point_pass(levels.float(), size[1])  # (..., H, W) -> (w, ..., H)
        levels = _fixed_point_pass(levels, size[0])  # (w, ..., H) -> (h, w, ...)
    return levels.permute(*range(2, levels.dim()), 0, 1).contiguous()


def _fixed_point_pass(levels: Tensor, target: int) -> Tensor:
    """Resizes the last dimension of grey levels exactly as Pillow does, and moves it to the front.

    A weight times 2^22 is an integer, here split into three digits of base 2^8. Digits and grey levels have 8 bits and
    are exact in every float type of a matrix product, including TF32 and bfloat16; their sums stay below 2^24, where
    float32 is exact, for kernels of up to 512 taps.

    Args:
        levels: (..., source) float32, integers 0..255.
        target: Pixels after resizing.

    Returns:
        (target, ...) float32, integers 0..255.
    """
    source = int(levels.shape[-1])
    rows = levels.reshape(-1, source).T
    blocks = [digits.flatten(0, 1) @ rows[columns] for columns, digits in _band(source, target, levels.device)]
    high, middle, low = torch.cat([block.view(3, -1, rows.shape[1]) for block in blocks], dim=1)
    # (high * 2^16 + middle * 2^8 + low) / 2^22, rounded half up; each digit carries into the next.
    carried = low.mul_(2**-8).floor_().add_(middle).mul_(2**-8).floor_()
    rounded = carried.add_(high).add_(2**5).mul_(2**-6).floor_()
    return rounded.clamp_(0, 255).view(target, *levels.shape[:-1])


def _check(found: tuple[int, int], size: tuple[int, int], mode: str) -> None:
    if min(*found, *size) < 1:
        raise ShapeError(f"Cannot resize {found} to {tuple(size)} pixels: each side needs at least one pixel.")
    if mode not in MODES:
        raise ConfigError(f"Unknown bicubic mode '{mode}'. Expected one of: {', '.join(MODES)}.")


def _rounded(levels: Tensor) -> Tensor:
    """Returns grey levels rounded half up and clipped to 0..255, as both libraries do."""
    return (levels + 0.5).floor_().clamp_(0, 255)


@constant
def _band(source: int, target: int, device: torch.device) -> list[tuple[slice, Tensor]]:
    """Returns Pillow's weights, a band matrix, in blocks of rows without the zero columns.

    Returns:
        Per block, the range of source pixels and the digits of their weights, (3, rows, pixels) float32, highest first.
    """
    numerators = (_weights(source, target, "pil", torch.device("cpu"), torch.float64) * 2**22).round()
    scale, support = source / target, 2 * max(source / target, 1.0)
    band, first = [], 0
    for rows in numerators.chunk(4):
        last = first + len(rows) - 1
        begin = max(0, math.floor((first + 0.5) * scale - support))
        columns = slice(begin, min(source, math.ceil((last + 0.5) * scale + support)))
        rest, digits = rows[:, columns], []
        for _ in range(3):
            carry = ((rest + 2**7) / 2**8).floor()
            digits.append(rest - carry * 2**8)  # -128..127
            rest = carry
        band.append((columns, torch.stack(digits[::-1]).float().to(device)))
        first = last + 1
    return band


@constant
def _weights(source: int, target: int, mode: Mode, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the weights of the source pixels for each target pixel, (target, source); rows sum to 1."""
    scale = source / target
    stretch = max(scale, 1.0)  # widening the kernel when downsampling is the antialiasing
    centres = (torch.arange(target, device=device, dtype=dtype) + 0.5) * scale - 0.5
    pixels = torch.arange(source, device=device, dtype=dtype)
    # Positions at which each pixel occurs. A mirrored line has period 2 * source and contains each pixel twice per
    # period; kernels reach at most one period to either side.
    positions = [pixels]
    if mode == "matlab":
        positions = [side + period * 2 * source for side in (pixels, -1 - pixels) for period in (-1, 0, 1)]
    offsets = torch.stack(positions).unsqueeze(1) - centres.unsqueeze(1)  # (1 or 6, target, source)
    weights = _keys(offsets / stretch).sum(0)  # (target, source)
    return weights / weights.sum(1, keepdim=True)


def _keys(distance: Tensor) -> Tensor:
    """Returns the cubic convolution kernel, a = -0.5."""
    distance = distance.abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
