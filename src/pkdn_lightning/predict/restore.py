"""Faces of many files in batches through the network."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.errors import PKDNError


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
                sr = restore(to_tensor([faces[number] for number in batch]))
            except PKDNError as error:
                results |= dict.fromkeys(batch, error)
            else:
                results |= dict(zip(batch, to_pixels(sr), strict=True))
    return [results[number] for number in range(len(faces))]
