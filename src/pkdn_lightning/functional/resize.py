"""Antialiased bicubic resizing, equal to Pillow's or to MATLAB's, as two small matrix products.

Every number of this literature starts from a picture shrunk by one of these two, and libraries that only look alike
cost up to 1.4 dB (no antialiasing) or 10 grey levels at the border. Both use the kernel of Keys with a = -0.5,
widened by the scale when shrinking, and differ in three points:

| mode     | beyond the border            | first pass                                | weights for 8 bits  |
|----------|------------------------------|-------------------------------------------|---------------------|
| `pil`    | kernel clipped, renormalised | horizontal                                | multiples of 2^-22  |
| `matlab` | picture mirrored             | the side that shrinks most, else vertical | double              |

Pillow 13 begins vertically where the height shrinks much more than the width. That cannot happen where both sides
scale alike, as everywhere in this package, and `pil` keeps to the order of all versions before.

Reference:
    R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981;
    Pillow's `Image.resize(size, BICUBIC)`; MATLAB's `imresize(image, size)`.
"""

from contextlib import nullcontext
from functools import lru_cache
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from pkdn_lightning.errors import ConfigError, ShapeError

Mode = Literal["pil", "matlab"]
MODES: Final = get_args(Mode)


def widest_float(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 on Apple's MPS, which has no wider type."""
    return torch.float32 if device.type == "mps" else torch.float64


def bicubic(images: Tensor, size: tuple[int, int], *, mode: Mode = "pil", round_8bit: bool = False) -> Tensor:
    """Returns images resized by antialiased bicubic interpolation.

    Args:
        images: Any float type, (..., H, W), in [0, 1].
        size: Height and width of the result, in pixels.
        mode: Whose borders, order of passes and arithmetic to follow.
        round_8bit: Do as the libraries do with 8-bit pictures: take `images` as grey levels, and round and clip after
            each pass. Results are then k/255, and no gradient flows. Otherwise nothing is rounded or clipped:
            bicubic overshoots, so results may leave [0, 1] a little.

    Returns:
        (..., *size), in the type of `images`.

    Raises:
        ShapeError: If `images` or `size` has no pixel.
        ConfigError: If `mode` is unknown.
        TypeError: If `images` holds integers.

    Example:
        >>> bicubic(torch.rand(2, 3, 16, 16), (128, 128)).shape
        torch.Size([2, 3, 128, 128])
    """
    # Plain integers, because sizes choose constants: under torch.export they stay fixed while the batch may vary.
    height, width = (int(side) for side in images.shape[-2:])
    if not images.is_floating_point():
        raise TypeError(f"bicubic resizes float images in [0, 1], found {images.dtype}: divide by 255 first.")
    _check((height, width), size, mode)
    # Why double: a product in float32 loses 13 bits once somebody allows TF32, and under autocast 16 or 13; double is
    # left alone by both. It also makes 8-bit results exact, since sums of an integer times a multiple of 2^-22 fit
    # into it in whatever order they are taken. The products are too small for the cost to show.
    levels = images.to(widest_float(images.device))
    if round_8bit:
        levels = _rounded(levels * 255)
    levels = _resized(levels, size, mode, round_8bit)
    return (levels / 255 if round_8bit else levels).to(images.dtype)


def bicubic_8bit(pictures: Tensor, size: tuple[int, int], *, mode: Mode = "pil") -> Tensor:
    """Returns 8-bit pictures resized as `bicubic` does with `round_8bit`, without the way through [0, 1] and back.

    Args:
        pictures: uint8, (..., H, W).
        size: Height and width of the result, in pixels.
        mode: As in `bicubic`.

    Returns:
        (..., *size) float32 in [0, 1], values k/255.

    Raises:
        ShapeError: As `bicubic`.
        ConfigError: As `bicubic`.
    """
    height, width = (int(side) for side in pictures.shape[-2:])
    _check((height, width), size, mode)
    # Contiguous while it is a byte each: the products want it, and later it is eight.
    levels = pictures.contiguous().to(widest_float(pictures.device))
    return (_resized(levels, size, mode, round_8bit=True) / 255).float()


def _resized(levels: Tensor, size: tuple[int, int], mode: Mode, round_8bit: bool) -> Tensor:
    """Returns grey levels (..., H, W) in the widest float type, resized to `size`; rounded after each pass if asked."""
    height, width = (int(side) for side in levels.shape[-2:])
    horizontal_first = mode == "pil" or size[1] * height < size[0] * width
    fixed_point = mode == "pil" and round_8bit
    with nullcontext() if levels.dtype == torch.float64 else torch.autocast(levels.device.type, enabled=False):
        for horizontal in (horizontal_first, not horizontal_first):
            if horizontal:  # from the left, where libraries are twice as fast with so few rows
                levels = (_matrix(width, size[1], mode, fixed_point, like=levels) @ levels.mT).mT
            else:
                levels = _matrix(height, size[0], mode, fixed_point, like=levels) @ levels
            if round_8bit:
                levels = _rounded(levels)
    return levels


def _check(found: tuple[int, int], size: tuple[int, int], mode: str) -> None:
    if min(*found, *size) < 1:
        raise ShapeError(f"Cannot resize {found} to {tuple(size)} pixels: each side needs at least one.")
    if mode not in MODES:
        raise ConfigError(f"Unknown bicubic mode '{mode}'. Expected one of: {', '.join(MODES)}.")


def _rounded(levels: Tensor) -> Tensor:
    """Returns grey levels rounded half up and clipped to 0..255, as both libraries do."""
    return (levels + 0.5).floor_().clamp_(0, 255)


def _matrix(source: int, target: int, mode: Mode, fixed_point: bool, like: Tensor) -> Tensor:
    """Returns the (target, source) matrix of one pass, on the device and in the type of `like`."""
    if torch.compiler.is_compiling():  # traced tensors are fake: they must not be remembered
        return _weights(source, target, mode, fixed_point, like.device, like.dtype)
    return _remembered_weights(source, target, mode, fixed_point, like.device, like.dtype)


@lru_cache(maxsize=256)
def _remembered_weights(
    source: int, target: int, mode: Mode, fixed_point: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    with torch.inference_mode(False):  # first met while validating, they must still serve training
        return _weights(source, target, mode, fixed_point, device, dtype)


def _weights(
    source: int, target: int, mode: Mode, fixed_point: bool, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Returns, for each of `target` pixels, the weight of each of `source` pixels; rows sum to 1.

    Args:
        source: Pixels before.
        target: Pixels after.
        mode: Whose borders.
        fixed_point: Round to multiples of 2^-22, as Pillow does for 8-bit pictures.
        device: Where to make them.
        dtype: Their type.
    """
    scale = source / target
    stretch = max(scale, 1.0)  # the kernel widens when shrinking: that is the antialiasing
    centres = (torch.arange(target, device=device, dtype=dtype) + 0.5) * scale - 0.5
    pixels = torch.arange(source, device=device, dtype=dtype)
    # Each entry says where the pixels are seen. Mirrored, the line repeats every 2 * source pixels, forwards and
    # backwards, and one period to either side is as far as any kernel reaches.
    seen = [pixels]
    if mode == "matlab":
        seen = [side + period * 2 * source for side in (pixels, -1 - pixels) for period in (-1, 0, 1)]
    places = torch.stack(seen).unsqueeze(1)  # (1 or 6, source) -> (1 or 6, 1, source)
    weights = _keys((places - centres.unsqueeze(1)) / stretch).sum(0)  # (1 or 6, target, source) -> (target, source)
    weights = weights / weights.sum(1, keepdim=True)
    return (weights * 2**22).round() / 2**22 if fixed_point else weights


def _keys(distance: Tensor) -> Tensor:
    """Returns the cubic convolution kernel, a = -0.5."""
    distance = distance.abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
