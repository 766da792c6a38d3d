"""How the low-resolution image comes from the high-resolution one: the only place that decides it.

DIC's protocol, which the compared methods follow: antialiased bicubic of the 8-bit image, rounded to 8 bits again.
No blur, noise or compression is modelled.
"""

import torch
from torch import Tensor

from pkdn_lightning.errors import ShapeError
from pkdn_lightning.functional.resize import Mode, bicubic, bicubic_8bit


def degrade(hr: Tensor, scale: int, mode: Mode = "pil") -> Tensor:
    """Returns LR: HR shrunk by antialiased bicubic, rounded to 8 bits.

    Args:
        hr: (B, 3, H, W), 8-bit images: uint8, or float in [0, 1], rounded first where it is not k/255 already.
        scale: How many times smaller each side becomes.
        mode: `pil` equals `Image.resize` of Pillow, `matlab` equals `imresize` of MATLAB.

    Returns:
        (B, 3, H / scale, W / scale), float32 or the type of `hr`, values k/255.

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
            f"Cannot degrade HR of {height}x{width} pixels by scale {scale}: expected sides that {scale} divides. "
            "Crop the images or choose another scale."
        )
    size = (height // scale, width // scale)
    if hr.dtype == torch.uint8:
        return bicubic_8bit(hr, size, mode=mode)
    return bicubic(hr, size, mode=mode, round_8bit=True)


def enlarge(lr: Tensor, scale: int, mode: Mode = "pil") -> Tensor:
    """Returns LR enlarged by bicubic interpolation in 8 bits: the method called "bicubic" in the tables.

    Args:
        lr: (B, 3, h, w) float in [0, 1], taken as 8-bit images.
        scale: How many times larger each side becomes.
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
