"""PSNR and SSIM per image, under named protocols.

The literature computes both in at least seven ways that differ by up to 1.4 dB, so a value has to name its protocol.
`PROTOCOLS` holds the relevant ones. A protocol sets everything except the two formulas:

    PSNR = 10 log10(255² / MSE)    SSIM: Gaussian window 11x11, sigma 1.5, valid region, C1 = 2.55², C2 = 7.65²

Both give one value per image; tables show their mean (`pkdn_lightning.metrics.collection`), which is not the PSNR of
the pooled error. Images are rounded in float32, as they are when written to a file. PSNR is then exact for integer
levels and within 2e-6 dB otherwise; SSIM is computed in float32, within 1e-6 of double on faces and 1e-5 on flat white
against flat black. Neither is differentiable.

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
_CPU_CHUNK: Final = 8  # images at a time
_MIDDLE: Final = 128  # subtracted from levels
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Protocol:
    """How images are converted to grey levels before the comparison.

    Attributes:
        name: Name in tables and metric keys.
        channel: `y` is BT.601 luma, 16..235; `rgb` pools the three colours.
        border_px: Pixels cropped on each side.
        rounded: Clamps and rounds SR and HR to 8 bits, and rounds the luma. Otherwise floats are compared unchanged.
    """

    name: str
    channel: Literal["y", "rgb"]
    border_px: int
    rounded: bool = True


HEADLINE: Final = Protocol("headline", "y", border_px=8)
"""The protocol of all tables: that of DIC's code, without its integer overflow of the luma."""

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
    """Both metrics of each image.

    Attributes:
        psnr: (B,) float64, see `psnr`.
        ssim: (B,) float64, see `ssim`.
    """

    psnr: Tensor
    ssim: Tensor


@torch.no_grad()
def quality(sr: Tensor, hr: Tensor, protocols: Sequence[Protocol] = (HEADLINE,)) -> list[Quality]:
    """Returns `psnr` and `ssim` under several protocols.

    Protocols that differ only in the border share all computation except the mean.

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
    """Yields images or planes in chunks; on a CPU they are small, so that intermediate results fit into its cache."""
    size = _CPU_CHUNK if sr.device.type == "cpu" else max(1, len(sr))
    return zip(torch.split(sr, size), torch.split(hr, size), strict=True)


def _quality(sr: Tensor, hr: Tensor, protocols: Sequence[Protocol]) -> list[Quality]:
    found: dict[Protocol, Quality] = {}
    for protocol in protocols:
        if protocol in found:
            continue
        group = [other for other in protocols if (other.channel, other.rounded) == (protocol.channel, protocol.rounded)]
        widest = min(group, key=lambda other: other.border_px)
        levels = _comparable(sr, hr, widest)
        error, similarity = _squared_error(*levels), _similarity(*levels)
        for other in group:
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
            f"'{protocol.name}'): at least {SSIM_WINDOW_PX}x{SSIM_WINDOW_PX} must remain. Choose a smaller border_px."
        )


def _levels(images: Tensor, protocol: Protocol) -> Tensor:
    """Returns grey levels minus `_MIDDLE`, (B, 1 or 3, H - 2 * border_px, W - 2 * border_px) float32.

    Integer levels and their luma are exact in float32; centring keeps their squares small.
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
    """Returns the SSIM at every window position, (B, C, H - 10, W - 10), of centred levels (B, C, H, W)."""
    found = torch.cat([_similarity_of_planes(*planes) for planes in _parts(sr.flatten(0, 1), hr.flatten(0, 1))])
    return found.view(*sr.shape[:2], *found.shape[1:])


def _similarity_of_planes(sr: Tensor, hr: Tensor) -> Tensor:
    """Returns the SSIM at every window position, (N, H - 10, W - 10), of planes of centred levels (N, H, W).

    Instead of the five moments of the formula (two means, two variances, a covariance) it computes the equivalent first
    two moments of sum and difference. This saves one blur, and avoids the cancellation of two large variances in
    float32 if the images are nearly equal.
    """
    fields = sr.new_empty(4, *sr.shape)
    torch.add(sr, hr, out=fields[0])
    torch.sub(sr, hr, out=fields[1])
    torch.square(fields[:2], out=fields[2:])
    mean_s, mean_d, variance_s, variance_d = _blur(fields).unbind()
    variance_s.addcmul_(mean_s, mean_s, value=-1).add_(2 * _C2)
    mean_s.add_(2 * _MIDDLE).square_().add_(2 * _C1)
    mean_d.square_()
    variance_d.sub_(mean_d)
    # 2 mx my = (ms² - md²) / 2, mx² + my² = (ms² + md²) / 2; likewise for 2 cov and the sum of the variances.
    numerator = (mean_s - mean_d).mul_(variance_s - variance_d)
    return numerator.div_(mean_s.add_(mean_d).mul_(variance_s.add_(variance_d)))


def _blur(planes: Tensor) -> Tensor:
    """Returns planes (..., H, W) filtered by the Gaussian window, valid region only: (..., H - 10, W - 10)."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # stub
    return _convolved(planes) if onednn and planes.device.type == "cpu" else _summed_taps(planes)


def _convolved(planes: Tensor) -> Tensor:
    """Blurs on a CPU by depthwise 1-D convolutions whose channels are the rows or columns.

    This is ten times as fast as a 2-D convolution with one channel.
    """
    lines = planes.flatten(0, -3)
    with torch.autocast("cpu", enabled=False):
        for layout in (torch.channels_last, torch.contiguous_format):  # memory format of the transposed lines
            channels = lines.shape[2]
            lines = F.conv2d(lines.mT.unsqueeze(2), _window(channels, layout), groups=channels).squeeze(2)
    return lines.reshape(*planes.shape[:-2], *lines.shape[1:])


def _summed_taps(planes: Tensor) -> Tensor:
    """Blurs on any device, one tap at a time, which avoids matrix products in TF32."""
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
