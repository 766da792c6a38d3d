"""PSNR and SSIM of one image at a time, under named protocols.

The literature computes both in at least seven ways that differ by up to 1.4 dB, so a number without its protocol
says little. `PROTOCOLS` holds the ones worth telling apart; a protocol fixes everything but the two formulas:

    PSNR = 10 log10(255² / MSE)    SSIM: Gaussian window 11x11, sigma 1.5, valid region, C1 = 2.55², C2 = 7.65²

Both give one value per image in double precision; a table shows their mean (`pkdn_lightning.metrics.collection`),
which is not the PSNR of the pooled error.

Reference:
    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from kornia.metrics import ssim as ssim_map
from torch import Tensor

from pkdn_lightning.errors import ShapeError
from pkdn_lightning.functional.colour import luma_bt601, round_8bit
from pkdn_lightning.functional.resize import widest_float

SSIM_WINDOW_PX: Final = 11


@dataclass(frozen=True)
class Protocol:
    """What is compared, in grey levels.

    Attributes:
        name: How tables and metric keys call it.
        channel: `y` is BT.601 luma, 16..235; `rgb` pools the three colours.
        border_px: Pixels dropped on each side.
        rounded: Clamp and round SR and HR to 8 bits before, and luma after conversion. Otherwise floats are compared
            as they come.
    """

    name: str
    channel: Literal["y", "rgb"]
    border_px: int
    rounded: bool = True


HEADLINE: Final = Protocol("headline", "y", border_px=8)
"""The protocol of every table: what DIC's code means to compute, on the luma that was not wrapped around."""

PROTOCOLS: Final[Mapping[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        HEADLINE,
        Protocol("no_border", "y", border_px=0),  # SPARNet, WFEN; they floor luma, which changes < 0.001 dB
        Protocol("rgb", "rgb", border_px=8),  # MMagic's DIC
        Protocol("rgb_no_border", "rgb", border_px=0),  # ports of FSRNet
        Protocol("float", "y", border_px=8, rounded=False),  # KDFSRNet, FishFSRNet
    )
}
"""Protocols by name."""


def psnr(sr: Tensor, hr: Tensor, protocol: Protocol = HEADLINE) -> Tensor:
    """Returns the peak signal-to-noise ratio of each image, peak 255.

    Args:
        sr: Restored images, RGB in [0, 1], any float type, (B, 3, H, W).
        hr: Ground truth, same shape and range.
        protocol: Channel, border and rounding.

    Returns:
        (B,) float64, in dB; `inf` where nothing differs.

    Raises:
        ShapeError: If the shapes differ, are not (B, 3, H, W), or the border leaves fewer than 11 pixels.

    Example:
        >>> import torch
        >>> hr = torch.zeros(1, 3, 32, 32)
        >>> psnr(hr + 10 / 255, hr, PROTOCOLS["rgb"])  # 20 log10(255 / 10)
        tensor([28.1308], dtype=torch.float64)
    """
    sr, hr = _comparable(sr, hr, protocol)
    mse = (sr - hr).square().mean((1, 2, 3))
    return 10 * (255**2 / mse).log10()


def ssim(sr: Tensor, hr: Tensor, protocol: Protocol = HEADLINE) -> Tensor:
    """Returns the structural similarity of each image: the mean over channels and valid window positions.

    Args:
        sr: Restored images, RGB in [0, 1], any float type, (B, 3, H, W).
        hr: Ground truth, same shape and range.
        protocol: Channel, border and rounding.

    Returns:
        (B,) float64 in [-1, 1]; exactly 1 where nothing differs.

    Raises:
        ShapeError: As `psnr`.

    Example:
        >>> import torch
        >>> ssim(torch.ones(1, 3, 32, 32), torch.ones(1, 3, 32, 32))
        tensor([1.], dtype=torch.float64)
    """
    sr, hr = _comparable(sr, hr, protocol)
    # eps guards kornia's division for images in [0, 1]; the published formula has none, and grey levels need none.
    similarity: Tensor = ssim_map(sr, hr, SSIM_WINDOW_PX, max_val=255.0, eps=0.0, padding="valid")
    return similarity.mean((1, 2, 3))


def psnr_y(sr: Tensor, hr: Tensor, border_px: int = HEADLINE.border_px) -> Tensor:
    """Returns `psnr` under the headline protocol with a border of `border_px`.

    Example:
        >>> import torch
        >>> psnr_y(torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))  # 20 log10(255 / 219)
        tensor([1.3219], dtype=torch.float64)
    """
    return psnr(sr, hr, replace(HEADLINE, border_px=border_px))


def ssim_y(sr: Tensor, hr: Tensor, border_px: int = HEADLINE.border_px) -> Tensor:
    """Returns `ssim` under the headline protocol with a border of `border_px`."""
    return ssim(sr, hr, replace(HEADLINE, border_px=border_px))


def _comparable(sr: Tensor, hr: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
        raise ShapeError(
            f"Cannot compare SR {tuple(sr.shape)} with HR {tuple(hr.shape)}: expected the same (B, 3, H, W) twice."
        )
    height, width = sr.shape[-2:]
    if protocol.border_px < 0 or min(height, width) - 2 * protocol.border_px < SSIM_WINDOW_PX:
        raise ShapeError(
            f"Cannot measure images of {height}x{width} pixels without a border of {protocol.border_px} (protocol "
            f"'{protocol.name}'): at least {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX} must stay. Choose a smaller border_px."
        )
    return _levels(sr, protocol), _levels(hr, protocol)


def _levels(images: Tensor, protocol: Protocol) -> Tensor:
    """Returns grey levels without the border, (B, 1 or 3, H - 2 * border_px, W - 2 * border_px)."""
    # Double: near-identical pictures leave differences that float32 drowns in the variances SSIM subtracts.
    images = images.to(widest_float(images.device))
    if protocol.rounded:
        images = round_8bit(images)
    levels = luma_bt601(images).unsqueeze(1) if protocol.channel == "y" else images * 255
    if protocol.rounded:
        levels = levels.round()
    height, width = levels.shape[-2:]
    border = protocol.border_px
    return levels[..., border : height - border, border : width - border]
