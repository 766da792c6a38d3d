"""Parsing maps on their way into a network: mirrored, and encoded as tensors. The labels are in `data.labels`."""

from typing import Final, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pkdn_lightning.data.labels import LABELS, MIRRORED, PALETTE

Encoding = Literal["colour", "onehot", "index"]
ENCODINGS: Final = get_args(Encoding)


def mirror(parsing: Tensor) -> Tensor:
    """Returns label maps flipped left to right, with left and right labels swapped.

    Args:
        parsing: Label ids, (..., H, W), any integer type.

    Returns:
        The same shape and type.
    """
    table = torch.tensor(MIRRORED, dtype=parsing.dtype, device=parsing.device)
    return table[parsing.flip(-1).long()]


def encoding_channels(encoding: Encoding) -> int:
    """Returns how many channels a network sees under `encoding`."""
    return {"colour": 3, "onehot": len(LABELS), "index": 1}[encoding]


def encode(parsing: Tensor, encoding: Encoding) -> Tensor:
    """Returns label maps as the float tensor a network is fed with.

    Args:
        parsing: Label ids 0..18, (B, H, W), any integer type.
        encoding: `colour` paints `PALETTE` and divides by 255 (the literature's form, KDFSRNet); `onehot` gives a
            channel per class; `index` gives the id divided by 18.

    Returns:
        (B, C, H, W) float32 in [0, 1], C = `encoding_channels(encoding)`.
    """
    if encoding == "onehot":
        onehot = torch.zeros(parsing.shape[0], len(LABELS), *parsing.shape[1:], device=parsing.device)
        return onehot.scatter_(1, parsing.long().unsqueeze(1), 1.0)
    if encoding == "index":
        return parsing.unsqueeze(1).float() / (len(LABELS) - 1)
    palette = torch.tensor(PALETTE, dtype=torch.float32, device=parsing.device) / 255  # (19, 3)
    return F.embedding(parsing.int(), palette).permute(0, 3, 1, 2).contiguous()  # (B, H, W, 3) -> (B, 3, H, W)
