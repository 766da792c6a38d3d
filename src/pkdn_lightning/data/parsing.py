"""Transforms of parsing maps: mirroring, encoding, and degradation for ablations. The labels are in `data.labels`."""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from pkdn_lightning.data.labels import LABELS, MIRRORED, PALETTE, Damage, Encoding
from pkdn_lightning.functional.constants import constant

_SIDED: Final = tuple(label for label, mirrored in enumerate(MIRRORED) if label != mirrored)  # 4 to 9
_GOLDEN: Final = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, spread evenly


def mirror(parsing: Tensor) -> Tensor:
    """Returns label maps flipped left to right, with left and right labels swapped.

    Args:
        parsing: Label ids, (..., H, W), any integer type.

    Returns:
        The same shape and type.
    """
    flipped = parsing.flip(-1)
    # Left parts have even labels and their right counterparts the next ones: on a CPU twice as fast as a table.
    sided = flipped.clamp(_SIDED[0], _SIDED[-1]) == flipped
    return flipped ^ sided.to(flipped.dtype)


def encode(parsing: Tensor, encoding: Encoding) -> Tensor:
    """Returns label maps as the float input of a network.

    Args:
        parsing: Label ids 0..18, (B, H, W), any integer type.
        encoding: `colour` gives the RGB colours of `PALETTE` divided by 255 (as in the literature, e.g. KDFSRNet);
            `onehot` gives a channel per class; `index` gives the id divided by 18.

    Returns:
        (B, C, H, W) float32 in [0, 1], C = `ENCODING_CHANNELS[encoding]`.
    """
    if encoding == "index":
        return parsing.unsqueeze(1).float() / (len(LABELS) - 1)
    if encoding == "onehot":
        labels = torch.arange(len(LABELS), dtype=parsing.dtype, device=parsing.device).view(1, -1, 1, 1)
        onehot = parsing.new_empty(parsing.shape[0], len(LABELS), *parsing.shape[1:], dtype=torch.float32)
        return torch.eq(parsing.unsqueeze(1), labels, out=onehot)  # avoids an intermediate boolean tensor
    return _colours(parsing)


def damage(parsing: Tensor, kind: Damage, row: Tensor, px: int) -> Tensor:
    """Returns degraded label maps, to study how accurate a prior has to be.

    Except for `other`, the degradation depends on the face's row only, so it is the same in every epoch.

    Args:
        parsing: Label ids 0..18, (B, H, W), any integer type.
        kind: `shuffled` permutes the labels of each face, background excepted, and keeps the shapes; `displaced`
            shifts each map by `px` in a direction that depends on the face; `other` gives each face the map of the
            previous one in its batch, a single face an empty one; `empty` is background only; `none` and `blurred`
            change nothing (`blur` acts on the encoded map).
        row: The faces' rows in the store, (B,) int64; they seed the degradation.
        px: Length of the displacement.

    Returns:
        The same shape and type.
    """
    if kind == "shuffled":
        # An integer hash gives the same permutation on every device.
        labels = torch.arange(1, len(LABELS), device=parsing.device)
        keys = (row[:, None] * len(LABELS) + labels) * 0x9E3779B1 % 2**32
        keys = (keys ^ (keys >> 16)) * 0x45D9F3B % 2**32
        keys = (keys ^ (keys >> 16)) * 0x45D9F3B % 2**32
        table = torch.cat([torch.zeros_like(row[:, None]), keys.argsort(dim=1) + 1], dim=1)  # (B, 19)
        return table.gather(1, parsing.flatten(1).long()).view_as(parsing).to(parsing.dtype)
    if kind == "empty" or (kind == "other" and len(parsing) == 1):
        return torch.zeros_like(parsing)
    if kind == "other":
        return parsing.roll(1, dims=0)
    if kind == "displaced":
        angle = 2 * math.pi * torch.frac(row.double() * _GOLDEN)
        height, width = parsing.shape[-2:]
        y, x = ((px * part(angle)).round().long()[:, None] for part in (torch.sin, torch.cos))
        rows = (torch.arange(height, device=parsing.device) - y).clamp(0, height - 1)  # (B, H)
        columns = (torch.arange(width, device=parsing.device) - x).clamp(0, width - 1)  # (B, W)
        face = torch.arange(len(parsing), device=parsing.device)[:, None, None]
        return parsing[face, rows[:, :, None], columns[:, None, :]]
    return parsing


def blur(encoded: Tensor, px: int) -> Tensor:
    """Returns encoded maps averaged over squares of `px` and upsampled again, which blurs the region borders.

    Args:
        encoded: (B, C, H, W) float32 in [0, 1].
        px: Side of the squares.

    Returns:
        The same shape and range.
    """
    size = (max(1, encoded.shape[-2] // px), max(1, encoded.shape[-1] // px))
    coarse = F.adaptive_avg_pool2d(encoded, size)
    return F.interpolate(coarse, size=encoded.shape[-2:], mode="bilinear", align_corners=False)


def _colours(labels: Tensor) -> Tensor:
    """Returns the colours of labels, (B, 3, H, W): of two at a time where they are bytes, which a CPU does faster."""
    faces, height, width = labels.shape
    if labels.dtype != torch.uint8 or width % 2 or labels.storage_offset() % 2:
        return _table(labels.device)[:, labels.int()].transpose(0, 1).contiguous()
    table, starts = _pair_table(labels.device)
    numbers = labels.flatten().view(torch.int16).view(faces, 1, height * width // 2) + starts
    return table.index_select(0, numbers.flatten()).view(torch.float32).view(faces, 3, height, width)


@constant
def _table(device: torch.device) -> Tensor:
    """Returns red, green and blue of each label, (3, 19) float32."""
    return (torch.tensor(PALETTE, dtype=torch.float32).T / 255).to(device)


@constant
def _pair_table(device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns red, green and blue of any two bytes side by side, and where each colour starts.

    Returns:
        The values of both bytes as one int64, so that they are read at once, (3 * 65,536,); those of bytes that are no
        labels are not a number. And the places of number 0 of the int16 that the bytes make together, (3, 1) int32.
    """
    count = 2**16
    starts = torch.arange(3, dtype=torch.int32).view(3, 1) * count + count // 2
    labels = torch.arange(len(PALETTE))
    pairs = torch.cartesian_prod(labels, labels)
    table = torch.full((3 * count, 2), torch.nan)
    table[pairs.to(torch.uint8).view(torch.int16).flatten() + starts] = _table(torch.device("cpu"))[:, pairs]
    return table.view(torch.int64).flatten().to(device), starts.to(device)
