"""JPEG compression and decompression of a batch, each image at its own quality, on any device.

It follows libjpeg at its defaults (8-bit YCbCr, chroma at half the resolution, the example tables of the standard), up
to the rounding of its integer DCT. Entropy coding is lossless and left out. Kornia's codec was not taken: it rounds
softly to have a gradient, which alters portraits of 16 px by a quarter of what JPEG alters them by, and it makes the
host wait for the device.

Reference:
    ITU-T T.81, Annex K; Independent JPEG Group, libjpeg (`jcparam.c`, `jcsample.c`, `jdsample.c`).
"""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from pkdn_lightning.functional.constants import constant

_LUMA: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA: Final = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))  # 99 elsewhere
_TO_YCBCR: Final = (
    (0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411),
)  # fmt: skip


def jpeg(levels: Tensor, quality: Tensor) -> Tensor:
    """Returns images after compression and decompression by JPEG.

    Args:
        levels: (B, 3, H, W) float32, grey levels 0..255; sides that 16 does not divide are padded by replication.
        quality: (B,), 1 to 100.

    Returns:
        (B, 3, H, W), whole grey levels 0..255.
    """
    height, width = levels.shape[-2:]
    padded = F.pad(levels, (0, -width % 16, 0, -height % 16), mode="replicate")
    to_ycbcr, to_rgb, luma, chroma, bias = _constants(levels.device)
    ycbcr = torch.einsum("ij,bjhw->bihw", to_ycbcr, padded).round()  # chroma is centred at 0 here, at 128 in libjpeg
    y = _coded(ycbcr[:, :1] - 128, _scaled(luma, quality)) + 128
    halved = (F.avg_pool2d(ycbcr[:, 1:], 2) + bias.repeat(padded.shape[-1] // 4)).floor()
    small = _coded(halved, _scaled(chroma, quality))
    full = F.interpolate(small, scale_factor=2, mode="bilinear").round()
    rgb = torch.einsum("ij,bjhw->bihw", to_rgb, torch.cat([y, full], 1))
    return rgb.round().clamp(0, 255)[..., :height, :width]


def _coded(planes: Tensor, table: Tensor) -> Tensor:
    """Returns planes (B, C, H, W) whose 8x8 blocks have their DCT coefficients quantised by tables (B, 8, 8)."""
    batch, channels, height, width = planes.shape
    dct = _dct(planes.device)
    blocks = planes.view(batch, channels, height // 8, 8, width // 8, 8).transpose(3, 4)  # (B, C, rows, columns, 8, 8)
    steps = table.view(batch, 1, 1, 1, 8, 8)
    exact = dct @ blocks @ dct.T / steps
    coefficients = (exact.abs() + 0.5).floor() * exact.sign() * steps  # halves away from zero, as libjpeg does
    decoded: Tensor = (dct.T @ coefficients @ dct).round().clamp(-128, 127)
    return decoded.transpose(3, 4).reshape(planes.shape)


def _scaled(table: Tensor, quality: Tensor) -> Tensor:
    """Returns the quantisation tables of qualities, (B, 8, 8)."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    return ((table * percent.view(-1, 1, 1) + 50) / 100).floor().clamp(1, 255)


@constant
def _dct(device: torch.device) -> Tensor:
    """Returns the orthonormal DCT-II of 8 values, (8, 8)."""
    place = torch.arange(8, dtype=torch.float64)
    dct = torch.cos((2 * place + 1) * place.unsqueeze(1) * math.pi / 16) / 2
    dct[0] /= math.sqrt(2)
    return dct.float().to(device)


@constant
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the matrices from RGB to YCbCr and back, (3, 3), the tables of luma and chroma, (8, 8), and the rounding.

    libjpeg rounds halves of the averaged chroma down and up in turn.
    """
    to_ycbcr = torch.tensor(_TO_YCBCR, dtype=torch.float64)
    chroma = torch.full((8, 8), 99.0)
    chroma[:4, :4] = torch.tensor(_CHROMA)
    made = to_ycbcr, torch.linalg.inv(to_ycbcr), torch.tensor(_LUMA), chroma, torch.tensor([0.25, 0.5])
    return tuple(each.float().to(device) for each in made)  # type: ignore[return-value]  # five of them
