"""Rounding to 8 bits, and the luma for PSNR and SSIM.

Nothing here uses a matrix product, so neither TF32 nor autocast changes a result.
"""

from torch import Tensor


def round_8bit(images: Tensor) -> Tensor:
    """Returns images clamped to [0, 1] and rounded to multiples of 1/255, as after writing and reading an 8-bit file.

    Ties go to the even level, as in `numpy.round`. The gradient is zero.

    Args:
        images: Any shape, float32 or wider; 16-bit types cannot represent k/255.

    Returns:
        The same shape and dtype.

    Example:
        >>> import torch
        >>> round_8bit(torch.tensor([-0.1, 0.5, 1.2])) * 255
        tensor([  0., 128., 255.])
    """
    return (images.clamp(0, 1) * 255).round() / 255


def luma_bt601(images: Tensor, peak: float = 1.0) -> Tensor:
    """Returns the BT.601 luma in studio range, in grey levels: 16 (black) to 235 (white).

    This is MATLAB's `rgb2ycbcr`. Full-range luma (`kornia`, `PIL.convert("L")`) spans 0 to 255 instead and gives a
    PSNR that is 1.32 dB lower.

    Args:
        images: RGB in [0, peak], (..., 3, H, W).
        peak: Value of white.

    Returns:
        (..., H, W), not rounded.

    Reference:
        ITU-R BT.601-7, section 2.5.

    Example:
        >>> import torch
        >>> luma_bt601(torch.ones(1, 3, 1, 1))
        tensor([[[235.]]])
    """
    red, green, blue = images.unbind(-3)
    return 16 + 65.481 / peak * red + 128.553 / peak * green + 24.966 / peak * blue


def luma_bt601_8bit(levels: Tensor) -> Tensor:
    """Returns `luma_bt601` of integer grey levels, rounded to integers; ties go to the even level.

    The result is exact in float32: the weights are multiples of 1/85000, and with level 126 subtracted in between the
    sums of the numerators stay below 2^24; the quotients are either ties or further from a tie than the rounding error.

    Args:
        levels: RGB, integers 0..255, (..., 3, H, W) float32 or wider.

    Returns:
        (..., H, W), integers 16..235 in the dtype of `levels`.

    Example:
        >>> import torch
        >>> luma_bt601_8bit(torch.tensor([255.0, 0.0, 0.0]).view(3, 1, 1))  # 16 + 65.481
        tensor([[81.]])
    """
    red, green, blue = levels.unbind(-3)
    sums = (red * 21827).add_(green, alpha=42851).sub_(110 * 85000).add_(blue, alpha=8322)
    return sums.div_(85000).round_().add_(16 + 110)
