"""Antialiased bicubic resizing, equal to Pillow's or to MATLAB's, as two small matrix products.

Every number of this literature starts from an image shrunk by one of these two, and libraries that only look alike
cost up to 1.4 dB (no antialiasing) or 10 grey levels at the border. Both use the kernel of Keys with a = -0.5,
widened by the scale when shrinking, and differ in three points:

| mode     | beyond the border            | first pass                                | weights for 8 bits  |
|----------|------------------------------|-------------------------------------------|---------------------|
| `pil`    | kernel clipped, renormalised | horizontal                                | multiples of 2^-22  |
| `matlab` | image mirrored             | the side that shrinks most, else vertical | double              |

Pillow 13 begins vertically where the height shrinks much more than the width. That cannot happen where both sides
scale alike, as everywhere in this package, and `pil` keeps to the order of all versions before.

Reference:
    R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29(6), 1981;
    Pillow's `Image.resize(size, BICUBIC)`; MATLAB's `imresize(image, size)`.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache, wraps
from typing import Final, Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

from pkdn_lightning.errors import ConfigError, ShapeError

Mode = Literal["pil", "matlab"]
MODES: Final = get_args(Mode)

P = ParamSpec("P")
T = TypeVar("T")


def widest_float(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 on Apple's MPS, which has no wider type."""
    return torch.float32 if device.type == "mps" else torch.float64


def bicubic(images: Tensor, size: tuple[int, int], *, mode: Mode = "pil", round_8bit: bool = False) -> Tensor:
    """Returns images resized by antialiased bicubic interpolation.

    Args:
        images: Any float type, (..., H, W), in [0, 1].
        size: Height and width of the result, in pixels.
        mode: Whose borders, order of passes and arithmetic to follow.
        round_8bit: Do as the libraries do with 8-bit images: take `images` as grey levels, and round and clip after
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
    height, width = images.shape[-2:]
    if not images.is_floating_point():
        raise TypeError(f"bicubic resizes float images in [0, 1], found {images.dtype}: divide by 255 first.")
    _check((height, width), size, mode)
    levels = images.to(widest_float(images.device))
    levels = _resized_8bit(_rounded(levels * 255), size, mode) / 255 if round_8bit else _resized(levels, size, mode)
    return levels.to(images.dtype)


def bicubic_8bit(images: Tensor, size: tuple[int, int], *, mode: Mode = "pil") -> Tensor:
    """Returns 8-bit images resized as `bicubic` does with `round_8bit`, without the way through [0, 1] and back.

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
    # Contiguous while it is a byte each: the products want it, and later it is four.
    return (_resized_8bit(images.contiguous(), size, mode) / 255).float()


def _resized(levels: Tensor, size: tuple[int, int], mode: Mode, *, round_8bit: bool = False) -> Tensor:
    """Returns levels (..., H, W) in the widest float type, resized to `size`; if asked, rounded after each pass.

    Why double: a product in float32 loses 13 bits once somebody allows TF32, and under autocast 16 or 13; double is
    left alone by both. The products are too small for the cost to show.
    """
    height, width = levels.shape[-2:]
    horizontal_first = mode == "pil" or size[1] * height < size[0] * width
    with nullcontext() if levels.dtype == torch.float64 else torch.autocast(levels.device.type, enabled=False):
        for horizontal in (horizontal_first, not horizontal_first):
            if horizontal:  # from the left, where libraries are twice as fast with so few rows
                levels = (_weights(width, size[1], mode, levels.device, levels.dtype) @ levels.mT).mT
            else:
                levels = _weights(height, size[0], mode, levels.device, levels.dtype) @ levels
            if round_8bit:
                levels = _rounded(levels)
    return levels


def _resized_8bit(levels: Tensor, size: tuple[int, int], mode: Mode) -> Tensor:
    """Returns grey levels (..., H, W), whole numbers of any type, resized to `size` in 8 bits, as a float type.

    MATLAB's weights are double. Pillow's are multiples of 2^-22, and whole numbers stay exact in float32, which takes
    half the time of double and is all that some devices have: see `_fixed_point_pass`.
    """
    if mode == "matlab":
        return _resized(levels.to(widest_float(levels.device)), size, mode, round_8bit=True)
    with torch.autocast(levels.device.type, enabled=False):
        levels = _fixed_point_pass(levels.float(), size[1])  # (..., H, W) -> (w, ..., H)
        levels = _fixed_point_pass(levels, size[0])  # (w, ..., H) -> (h, w, ...)
    return levels.permute(*range(2, levels.dim()), 0, 1).contiguous()


def _fixed_point_pass(levels: Tensor, target: int) -> Tensor:
    """Returns the last side of grey levels resized as Pillow does it, exactly, and moved to the front.

    A weight times 2^22 is a whole number, here of three digits to the base 2^8. A digit and a grey level have 8 bits
    each and are exact in every float type a product may be computed in, TF32 and bfloat16 included; their sums stay
    below 2^24, where float32 is exact, for as long as a kernel has no more than 512 taps.

    Args:
        levels: (..., source) float32, whole numbers 0..255.
        target: Pixels after.

    Returns:
        (target, ...) float32, whole numbers 0..255.
    """
    source = int(levels.shape[-1])
    rows = levels.reshape(-1, source).T
    blocks = [digits.flatten(0, 1) @ rows[seen] for seen, digits in _band(source, target, levels.device)]
    high, middle, low = torch.cat([block.view(3, -1, rows.shape[1]) for block in blocks], dim=1)
    # (high * 2^16 + middle * 2^8 + low) / 2^22, rounded half up: what is below a digit is floored into the next.
    carried = low.mul_(2**-8).floor_().add_(middle).mul_(2**-8).floor_()
    rounded = carried.add_(high).add_(2**5).mul_(2**-6).floor_()
    return rounded.clamp_(0, 255).view(target, *levels.shape[:-1])


def _check(found: tuple[int, int], size: tuple[int, int], mode: str) -> None:
    if min(*found, *size) < 1:
        raise ShapeError(f"Cannot resize {found} to {tuple(size)} pixels: each side needs at least one.")
    if mode not in MODES:
        raise ConfigError(f"Unknown bicubic mode '{mode}'. Expected one of: {', '.join(MODES)}.")


def _rounded(levels: Tensor) -> Tensor:
    """Returns grey levels rounded half up and clipped to 0..255, as both libraries do."""
    return (levels + 0.5).floor_().clamp_(0, 255)


def _remembered(make: Callable[P, T]) -> Callable[P, T]:
    """Makes constants once: not of traced tensors, which are fake, and not such as serve inference alone."""
    kept = lru_cache(maxsize=256)(make)

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            return make(*args, **kwargs)
        with torch.inference_mode(False):  # first met while validating, they must still serve training
            return kept(*args, **kwargs)  # type: ignore[arg-type]  # a device and a type are hashable

    return made


@_remembered
def _band(source: int, target: int, device: torch.device) -> list[tuple[slice, Tensor]]:
    """Returns Pillow's weights in blocks of rows, each with the columns it sees: most of the matrix is zero.

    Returns:
        Per block, the source pixels seen and the digits of their weights, (3, rows, seen) float32, highest first.
    """
    numerators = (_weights(source, target, "pil", torch.device("cpu"), torch.float64) * 2**22).round()
    scale, reach = source / target, 2 * max(source / target, 1.0)
    band, first = [], 0
    for rows in numerators.chunk(4):
        last = first + len(rows) - 1
        begin = max(0, math.floor((first + 0.5) * scale - reach))
        seen = slice(begin, min(source, math.ceil((last + 0.5) * scale + reach)))
        rest, digits = rows[:, seen], []
        for _ in range(3):
            carried = ((rest + 2**7) / 2**8).floor()
            digits.append(rest - carried * 2**8)  # -128..127
            rest = carried
        band.append((seen, torch.stack(digits[::-1]).float().to(device)))
        first = last + 1
    return band


@_remembered
def _weights(source: int, target: int, mode: Mode, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns, for each of `target` pixels, the weight of each of `source` pixels; rows sum to 1.

    Args:
        source: Pixels before.
        target: Pixels after.
        mode: Whose borders.
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
    return weights / weights.sum(1, keepdim=True)


def _keys(distance: Tensor) -> Tensor:
    """Returns the cubic convolution kernel, a = -0.5."""
    distance = distance.abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
