"""The same face in two files: found by a perceptual hash, confirmed by the pixels.

A face of the test split that is also in the training split makes every method look better than it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.store import Entry, blocks

_SIDE_PX = 32
_HASH_SIDE = 8
_BITS_APART = 6  # of 64; copies that were compressed or resized differ in up to about four
_CORRELATION = 0.98  # of the reduced grey images; other faces that share a hash stay below
_ROWS, _OTHERS = 64, 65_536  # hashes compared at a time, so that memory does not grow with the store
_DCT = np.cos(np.pi * np.arange(_HASH_SIDE)[:, None] * (2 * np.arange(_SIDE_PX) + 1) / (2 * _SIDE_PX))


class Duplicate(NamedTuple):
    """Two rows of a store that show the same image, `first` before `second`."""

    first: Entry
    second: Entry
    correlation: float

    @property
    def across(self) -> bool:
        """Whether they lie in different splits."""
        return self.first.split != self.second.split


def find_duplicates(file: Path, entries: Sequence[Entry]) -> list[Duplicate]:
    """Returns the pairs that show the same image, in the order of the store.

    Faces of `val` and `test` are compared with all others; faces of `train` only with those of equal hash, because near
    duplicates do no harm there.

    Args:
        file: The array of the faces, (N, S, S, 3) uint8.
        entries: The N rows.
    """
    hashes = np.fromiter(
        (perceptual_hash(face) for block in blocks(file) for face in block), dtype=np.uint64, count=len(entries)
    )
    hr = np.load(file, mmap_mode="r")
    held_out = np.array([row for row, entry in enumerate(entries) if entry.split != "train"], dtype=np.int64)
    pairs = _equal(hashes)
    for start in range(0, len(held_out), _ROWS):
        rows = held_out[start : start + _ROWS]
        for chunk in range(0, len(hashes), _OTHERS):
            apart = np.bitwise_count(hashes[rows, None] ^ hashes[None, chunk : chunk + _OTHERS])
            near = ((int(rows[row]), chunk + int(other)) for row, other in np.argwhere(apart <= _BITS_APART))
            pairs |= {(min(pair), max(pair)) for pair in near if pair[0] != pair[1]}
    found = [(a, b, _correlation(hr[a], hr[b])) for a, b in sorted(pairs)]
    return [Duplicate(entries[a], entries[b], round(alike, 4)) for a, b, alike in found if alike >= _CORRELATION]


def perceptual_hash(face: NDArray[np.uint8]) -> int:
    """Returns 64 bits that change little when an image is resized or compressed again (pHash, Zauner 2010).

    The signs of the 8x8 lowest frequencies of the reduced grey image, relative to their median.
    """
    coefficients = (_DCT @ _reduced(face) @ _DCT.T).round(3)  # of a flat image all but the first are 0, not noise
    bits = (coefficients > np.median(coefficients)).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def _equal(hashes: NDArray[np.uint64]) -> set[tuple[int, int]]:
    """Returns pairs of rows with the same hash, each row with the first one that has it."""
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    leader = first[inverse]
    return {(int(leader[row]), int(row)) for row in np.flatnonzero(leader != np.arange(len(hashes)))}


def _reduced(face: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = Image.fromarray(face).convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    return np.asarray(grey, dtype=np.float64)


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    x, y = (_reduced(face) - _reduced(face).mean() for face in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return 1.0 if scale == 0 else float((x * y).sum()) / scale  # two flat images of one hash are the same
