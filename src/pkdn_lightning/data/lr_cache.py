"""LR faces of a store, kept in memory once they were made, where the degradation allows it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.store import FaceStore

MAX_BYTES = 2**28


class LRCache:
    """Makes the bicubic LR of each face once. It is for CPUs: an accelerator makes LR faster than it could be copied.

    Bicubic LR depends on the face only, and Pillow's weights are symmetric integers: LR of a mirrored face is the
    mirrored LR, bit by bit.

    Args:
        store: The store of the faces.
        scale: Reduction from HR to LR.
    """

    def __init__(self, store: FaceStore, scale: int) -> None:
        side = store.size_px // scale
        self._scale = scale
        self._known = np.zeros(len(store.hr), dtype=np.bool_)
        self._lr = np.empty((len(store.hr), 3, side, side), dtype=np.uint8)  # pages are allocated when written

    @staticmethod
    def fits(store: FaceStore, scale: int, mode: str) -> bool:
        """Returns whether LR of a degradation can be kept: it is Pillow's bicubic, and takes 256 MiB or less."""
        return mode == "pil" and 3 * len(store.hr) * (store.size_px // scale) ** 2 <= MAX_BYTES

    def of(self, rows: NDArray[np.int64], hr: NDArray[np.uint8]) -> Tensor:
        """Returns LR of faces, (B, 3, h, w) uint8, not mirrored.

        Args:
            rows: Their rows in the store.
            hr: The faces, (B, S, S, 3).
        """
        missing = ~self._known[rows]
        if missing.any():
            made = degrade(torch.from_numpy(hr[missing]).permute(0, 3, 1, 2), self._scale)
            self._lr[rows[missing]] = (made * 255).round().to(torch.uint8).numpy()
            self._known[rows[missing]] = True
        return torch.from_numpy(self._lr[rows])
