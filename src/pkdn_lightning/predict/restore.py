"""Faces of many files in batches through the network."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.errors import PKDNError
from pkdn_lightning.functional.colour import round_8bit


def restore_all(
    restore: Callable[[Tensor], Tensor], faces: Sequence[NDArray[np.uint8]], batch_size: int
) -> list[NDArray[np.uint8] | PKDNError]:
    """Returns each restored face, in order, or why the network could not take it.

    Args:
        restore: Takes (B, 3, h, w) in [0, 1]; see `runtimes.Restorer`.
        faces: LR, each (h, w, 3); sizes may differ.
        batch_size: Faces at a time.
    """
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, face in enumerate(faces):
        by_size[face.shape].append(number)
    results: dict[int, NDArray[np.uint8] | PKDNError] = {}
    for numbers in by_size.values():
        for start in range(0, len(numbers), batch_size):
            batch = numbers[start : start + batch_size]
            try:
                sr = restore(as_tensor([faces[number] for number in batch]))
            except PKDNError as error:
                results |= dict.fromkeys(batch, error)
            else:
                results |= dict(zip(batch, as_pixels(sr), strict=True))
    return [results[number] for number in range(len(faces))]


def as_tensor(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Returns images (h, w, 3) of one size as (B, 3, h, w) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def as_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Returns (B, 3, h, w) as 8-bit images (B, h, w, 3)."""
    pixels: NDArray[np.uint8] = (round_8bit(images).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return pixels
