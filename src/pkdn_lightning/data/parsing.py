"""The 19-class face-parsing label set: names, colours, mirrored labels, and the encodings a network is fed with.

Labels follow CelebAMask-HQ. `l_*` is the person's left, which lies on the right of the picture, so a mirrored
picture needs its left and right labels swapped: `MIRRORED` says how.
"""

from typing import Final, Literal, get_args

import torch
from torch import Tensor

LABELS: Final = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""Class names; a class's id is its position."""

PALETTE: Final = (
    (0, 0, 0), (204, 0, 0), (76, 153, 0), (204, 204, 0), (51, 51, 255), (204, 0, 204), (0, 255, 255),
    (255, 204, 204), (102, 51, 0), (255, 0, 0), (102, 204, 0), (255, 255, 0), (0, 0, 153), (0, 0, 204),
    (255, 51, 153), (0, 204, 204), (0, 51, 0), (255, 153, 51), (0, 204, 0),
)  # fmt: skip
"""8-bit RGB of each class. No paper publishes its palette; any that keeps the classes apart will do."""


def _mirrored() -> tuple[int, ...]:
    swap = {"l_eye": "r_eye", "l_brow": "r_brow", "l_ear": "r_ear"}
    swap |= {right: left for left, right in swap.items()}
    return tuple(LABELS.index(swap.get(name, name)) for name in LABELS)


MIRRORED: Final = _mirrored()
"""`MIRRORED[i]` is the label that class `i` takes in the mirrored picture."""

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
    return palette[parsing.long()].permute(0, 3, 1, 2).contiguous()  # (B, H, W, 3) -> (B, 3, H, W)
