"""Faces of many files in batches through the network."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.pixels import to_floats, to_levels
from pkdn_lightning.errors import PKDNError
from pkdn_lightning.models.runtimes import Restore


def restore_all(
    faces: Sequence[tuple[Restore, NDArray[np.uint8]]], batch_size: int
) -> list[NDArray[np.uint8] | PKDNError]:
    """Returns each restored face, in order, or why its model could not take it.

    Args:
        faces: The model of each face, see `runtimes.Restorer`, and its LR, (h, w, 3); sizes may differ.
        batch_size: Faces at a time, of one model and one size.
    """
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for number, (restore, lr) in enumerate(faces):
        alike[id(restore), lr.shape].append(number)
    results: dict[int, NDArray[np.uint8] | PKDNError] = {}
    for numbers in alike.values():
        for start in range(0, len(numbers), batch_size):
            batch = numbers[start : start + batch_size]
            restore = faces[batch[0]][0]
            try:
                sr = restore(to_floats([faces[number][1] for number in batch]))
            except PKDNError as error:
                results |= dict.fromkeys(batch, error)
            else:
                results |= dict(zip(batch, to_levels(sr), strict=True))
    return [results[number] for number in range(len(faces))]
