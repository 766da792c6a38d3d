"""PSNR and SSIM of one image at a time, under named protocols.

The literature computes both in at least seven ways that differ by up to 1.4 dB, so a number without its protocol
says little. `PROTOCOLS` holds the ones worth telling apart; a protocol fixes everything but the two formulas:

    PSNR = 10 log10(255² / MSE)    SSIM: Gaussian window 11x11, sigma 1.5, valid region, C1 = 2.55², C2 = 7.65²

Both give one value per image; a table shows their mean (`pkdn_lightning.metrics.collection`), which is not the PSNR of
the pooled error. Images are rounded in float32, as whoever writes the file rounds them. From there PSNR is exact
where levels are whole, and within 2e-6 dB where they are not; SSIM is computed in float32, within 1e-6 of double on
faces and 1e-5 on flat white against flat black. No gradient flows through either.

Reference:
    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import exp
from typing import Final, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pkdn_lightning.errors import ShapeError
from pkdn_lightning.functional.colour import luma_bt601, luma_bt601_8bit
from pkdn_lightning.functional.resize import widest_float

SSIM_WINDOW_PX: Final = 11
_SIGMA_PX: Final = 1.5
_AT_A_TIME_ON_CPU: Final = 8
_MIDDLE: Final = 128  # levels are counted from here
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


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


@torch.no_grad()
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
    _check(sr, hr, protocol)
    return torch.cat([_decibel(_squared_error(*_comparable(*part, protocol))) for part in _parts(sr, hr)])


@torch.no_grad()
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
    _check(sr, hr, protocol)
    return torch.cat([_mean(_similarity(*_comparable(*part, protocol))) for part in _parts(sr, hr)])


class Quality(NamedTuple):
    """Both measures of each image.

    Attributes:
        psnr: (B,) float64, see `psnr`.
        ssim: (B,) float64, see `ssim`.
    """

    psnr: Tensor
    ssim: Tensor


@torch.no_grad()
def quality(sr: Tensor, hr: Tensor, protocols: Sequence[Protocol] = (HEADLINE,)) -> list[Quality]:
    """Returns `psnr` and `ssim` under several protocols; what they share is computed once.

    Protocols that differ in their border alone share everything but the mean.

    Args:
        sr: Restored images, RGB in [0, 1], any float type, (B, 3, H, W).
        hr: Ground truth, same shape and range.
        protocols: Channels, borders and roundings.

    Returns:
        One pair per protocol, in their order.

    Raises:
        ShapeError: As `psnr`.
    """
    for protocol in protocols:
        _check(sr, hr, protocol)
    parts = [_quality(*part, protocols) for part in _parts(sr, hr)]
    return [Quality(*(torch.cat(values) for values in zip(*each, strict=True))) for each in zip(*parts, strict=True)]


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


def _parts(sr: Tensor, hr: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields images or planes in parts: on a CPU so few at a time that everything in between stays in its cache."""
    size = _AT_A_TIME_ON_CPU if sr.device.type == "cpu" else max(1, len(sr))
    return zip(torch.split(sr, size), torch.split(hr, size), strict=True)


def _quality(sr: Tensor, hr: Tensor, protocols: Sequence[Protocol]) -> list[Quality]:
    found: dict[Protocol, Quality] = {}
    for protocol in protocols:
        if protocol in found:
            continue
        kin = [other for other in protocols if (other.channel, other.rounded) == (protocol.channel, protocol.rounded)]
        widest = min(kin, key=lambda other: other.border_px)
        levels = _comparable(sr, hr, widest)
        error, similarity = _squared_error(*levels), _similarity(*levels)
        for other in kin:
            border = other.border_px - widest.border_px
            found[other] = Quality(_decibel(_without_border(error, border)), _mean(_without_border(similarity, border)))
    return [found[protocol] for protocol in protocols]


def _comparable(sr: Tensor, hr: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    return _levels(sr, protocol), _levels(hr, protocol)


def _check(sr: Tensor, hr: Tensor, protocol: Protocol) -> None:
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


def _levels(images: Tensor, protocol: Protocol) -> Tensor:
    """Returns grey levels less `_MIDDLE`, (B, 1 or 3, H - 2 * border_px, W - 2 * border_px) float32.

    Whole levels and their luma are exact in float32; about the middle their squares are small.
    """
    levels = _without_border(images, protocol.border_px).float() * 255
    if protocol.rounded:
        levels = levels.clamp_(0, 255).round_()
    if protocol.channel == "y":
        levels = (luma_bt601_8bit(levels) if protocol.rounded else luma_bt601(levels, peak=255)).unsqueeze(1)
    return levels.sub_(_MIDDLE)


def _without_border(images: Tensor, border_px: int) -> Tensor:
    height, width = images.shape[-2:]
    return images[..., border_px : height - border_px, border_px : width - border_px]


def _squared_error(sr: Tensor, hr: Tensor) -> Tensor:
    return (sr - hr).square_()


def _mean(values: Tensor) -> Tensor:
    return values.sum(3).mean((1, 2), dtype=widest_float(values.device)) / values.shape[3]


def _decibel(squared_error: Tensor) -> Tensor:
    return 10 * (255**2 / _mean(squared_error)).log10()


def _similarity(sr: Tensor, hr: Tensor) -> Tensor:
    """Returns the SSIM of every window position, (B, C, H - 10, W - 10), of what `_levels` returns, (B, C, H, W)."""
    found = torch.cat([_similarity_of_planes(*planes) for planes in _parts(sr.flatten(0, 1), hr.flatten(0, 1))])
    return found.view(*sr.shape[:2], *found.shape[1:])


def _similarity_of_planes(sr: Tensor, hr: Tensor) -> Tensor:
    """Returns the SSIM of every window position, (N, H - 10, W - 10), of planes of what `_levels` returns, (N, H, W).

    Instead of the five moments of the formula (two means, two variances, a covariance) it blurs the first two of sum
    and difference, which hold the same: a blur less, and where images are nearly equal the difference is exact,
    which float32 would lose between two large variances.
    """
    fields = sr.new_empty(4, *sr.shape)
    torch.add(sr, hr, out=fields[0])
    torch.sub(sr, hr, out=fields[1])
    torch.square(fields[:2], out=fields[2:])
    mean_s, mean_d, variance_s, variance_d = _blur(fields).unbind()
    variance_s.addcmul_(mean_s, mean_s, value=-1).add_(2 * _C2)  # of the sum, of the difference
    mean_s.add_(2 * _MIDDLE).square_().add_(2 * _C1)
    mean_d.square_()
    variance_d.sub_(mean_d)
    # 2 mx my = (ms² - md²) / 2, mx² + my² = (ms² + md²) / 2, and so with 2 cov and the sum of both variances.
    above = (mean_s - mean_d).mul_(variance_s - variance_d)
    return above.div_(mean_s.add_(mean_d).mul_(variance_s.add_(variance_d)))


def _blur(planes: Tensor) -> Tensor:
    """Returns planes (..., H, W) under the Gaussian window, where it fits: (..., H - 10, W - 10)."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # stub
    return _convolved(planes) if onednn and planes.device.type == "cpu" else _summed_taps(planes)


def _convolved(planes: Tensor) -> Tensor:
    """Blurs on a CPU: along a side, the lines across it are the channels of a depthwise convolution.

    As it is usually written, with one channel and H and W as its sides, a convolution takes ten times as long.
    """
    lines = planes.flatten(0, -3)
    with torch.autocast("cpu", enabled=False):
        for layout in (torch.channels_last, torch.contiguous_format):  # as the lines lie when seen from that side
            channels = lines.shape[2]
            lines = F.conv2d(lines.mT.unsqueeze(2), _window(channels, layout), groups=channels).squeeze(2)
    return lines.reshape(*planes.shape[:-2], *lines.shape[1:])


def _summed_taps(planes: Tensor) -> Tensor:
    """Blurs anywhere, one tap at a time: no product that a GPU would compute in TF32."""
    for dimension in (-2, -1):
        length = planes.shape[dimension] - SSIM_WINDOW_PX + 1
        first, *others = _taps()
        blurred = planes.narrow(dimension, 0, length) * first
        for start, tap in enumerate(others, start=1):
            blurred.add_(planes.narrow(dimension, start, length), alpha=tap)
        planes = blurred
    return planes


@cache
def _window(channels: int, layout: torch.memory_format) -> Tensor:
    return torch.tensor(_taps()).expand(channels, 1, 1, SSIM_WINDOW_PX).contiguous(memory_format=layout)


@cache
def _taps() -> tuple[float, ...]:
    half = SSIM_WINDOW_PX // 2
    raw = [exp(-((offset / _SIGMA_PX) ** 2) / 2) for offset in range(-half, half + 1)]
    return tuple(tap / sum(raw) for tap in raw)
