"""Conversions between 8-bit images and tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.functional.colour import round_8bit


def to_tensor(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Tensor:
    """Returns RGB images of one size, (B, H, W, 3) uint8 or a sequence of (H, W, 3), as (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack([*images])).permute(0, 3, 1, 2).float() / 255


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Returns images (B, 3, H, W), clamped to [0, 1], as (B, H, W, 3) uint8."""
    levels = round_8bit(images.detach().float().cpu()).permute(0, 2, 3, 1) * 255
    return np.ascontiguousarray(levels.round().to(torch.uint8).numpy())
