"""Conversions between 8-bit images, NumPy arrays and tensors. Only `to_tensor` imports torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def to_floats(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Returns RGB images of one size, (B, H, W, 3) uint8 or a sequence of (H, W, 3), as (B, 3, H, W) in [0, 1]."""
    return np.stack([*images]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def to_levels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Returns images (B, 3, H, W), clamped to [0, 1] and rounded, as (B, H, W, 3) uint8; ties go to the even level."""
    levels = np.rint(images.clip(0, 1) * np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def to_tensor(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> "Tensor":
    """Returns the images of `to_floats` as a tensor."""
    import torch

    return torch.from_numpy(to_floats(images))


def to_pixels(images: "Tensor") -> NDArray[np.uint8]:
    """Returns the images of a tensor on any device; see `to_levels`."""
    return to_levels(images.detach().float().cpu().numpy())
