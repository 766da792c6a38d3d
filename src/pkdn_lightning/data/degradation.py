"""The degradation from HR to LR; every part of the package uses this module for it.

It follows DIC's protocol, as the compared methods do: antialiased bicubic downsampling of the 8-bit image, rounded to
8 bits. No blur, noise or compression is modelled.
"""

import torch
from torch import Tensor

from pkdn_lightning.errors import ShapeError
from pkdn_lightning.functional.resize import Mode, bicubic, bicubic_8bit


def degrade(hr: Tensor, scale: int, mode: Mode = "pil") -> Tensor:
    """Returns LR: HR downsampled by antialiased bicubic, rounded to 8 bits.

    Args:
        hr: (B, 3, H, W), uint8, or float in [0, 1], which is rounded to 8 bits first.
        scale: Factor by which each side shrinks.
        mode: `pil` equals `Image.resize` of Pillow, `matlab` equals `imresize` of MATLAB.

    Returns:
        (B, 3, H / scale, W / scale), values k/255; float32 for uint8 input, else the dtype of `hr`.

    Raises:
        ShapeError: If `scale` does not divide both sides.

    Reference:
        Ma et al., "Deep Face Super-Resolution with Iterative Collaboration" (DIC), CVPR 2020, published code.

    Example:
        >>> import torch
        >>> degrade(torch.rand(1, 3, 128, 128), scale=8).shape
        torch.Size([1, 3, 16, 16])
    """
    height, width = hr.shape[-2:]
    if scale < 1 or height % scale or width % scale:
        raise ShapeError(
            f"Cannot degrade HR of {height}x{width} pixels by scale {scale}: both sides have to be divisible by "
            f"{scale}. Crop the images or choose another scale."
        )
    size = (height // scale, width // scale)
    if hr.dtype == torch.uint8:
        return bicubic_8bit(hr, size, mode=mode)
    return bicubic(hr, size, mode=mode, round_8bit=True)


def enlarge(lr: Tensor, scale: int, mode: Mode = "pil") -> Tensor:
    """Returns LR upsampled by bicubic interpolation in 8 bits: the method called "bicubic" in the tables.

    Args:
        lr: (B, 3, h, w) float in [0, 1], rounded to 8 bits first.
        scale: Factor by which each side grows.
        mode: As in `degrade`.

    Returns:
        (B, 3, h * scale, w * scale), values k/255.

    Example:
        >>> import torch
        >>> enlarge(torch.rand(1, 3, 16, 16), scale=8).shape
        torch.Size([1, 3, 128, 128])
    """
    height, width = lr.shape[-2:]
    return bicubic(lr, (height * scale, width * scale), mode=mode, round_8bit=True)
