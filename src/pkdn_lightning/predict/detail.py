"""Whether a face has more detail than a network reads, or is an enlarged LR.

An enlarged LR of n×n pixels is the product of an n×n image and the matrix of the filter that enlarged it, so the least
squares fit of such a product leaves nothing but rounding and compression. A sharp face leaves most of its detail. What
is left is compared with the detail that LR itself holds, hence brightness, contrast and, nearly, gamma cancel.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ENLARGED_AT_MOST: Final = 0.12
"""`lost_detail` up to which a square counts as enlarged LR; `benchmarks/detail.py` measures what that means."""
ENLARGED_WITHIN_AT_MOST: Final = 0.18
"""The same in a photograph, where a detected square never matches that of the LR."""

_FILTERS: Final = (
    Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.NEAREST,
    Image.Resampling.HAMMING,
)  # fmt: skip
_SCALE: Final = 16  # larger faces are reduced to about this many times LR: finer detail than that decides nothing
_NOISE: Final = 0.25  # squared grey levels that rounding and compression leave of an enlarged LR
_LEAST_DETAIL: Final = 2.0  # squared grey levels; a face with less in it, e.g. a nearly black one, cannot be judged


def is_enlarged(image: Image.Image, lr_px: int) -> bool:
    """Returns whether a square RGB image is an LR of `lr_px`, enlarged; False if in doubt."""
    return lost_detail(image, lr_px) <= ENLARGED_AT_MOST


def is_enlarged_within(square: Image.Image, lr_px: int) -> bool:
    """Returns the same of a face's square in a photograph, judged by its middle: eyes, nose and mouth.

    What is around them may be in another focus, or a sharp edge behind the face. The square that a detector finds is up
    to a tenth larger or smaller than that of the enlarged LR, which is allowed for.
    """
    quarter = square.width // 4
    middle = square.crop((quarter, quarter, square.width - quarter, square.width - quarter))
    return lost_detail(middle, lr_px // 2 + 1) <= ENLARGED_WITHIN_AT_MOST


def lost_detail(image: Image.Image, lr_px: int) -> float:
    """Returns the detail of a square RGB image that `lr_px` cannot hold, relative to the detail that they hold.

    Both are mean squares of the luma: of what the nearest enlarged LR leaves (of the usual filters, or any other
    that is band-limited), and of the octave below the limit of LR. Infinite if there is too little detail to judge.

    Args:
        image: The face, of more than `lr_px` pixels.
        lr_px: Side of the network's input.
    """
    image = image.reduce(max(1, image.width // (_SCALE * lr_px)))
    luma = np.asarray(image, np.float64) @ (0.299, 0.587, 0.114)
    fits = [_enlarged(lr_px, image.width, filter_) for filter_ in _FILTERS]
    cosines = _cosines(lr_px, image.width)
    band, octave_below = (_fit(luma, cosines[:, :number], cosines[:, :number].T) for number in (lr_px, lr_px // 2))
    left = min(float(np.square(luma - each).mean()) for each in (band, *(_fit(luma, *each) for each in fits)))
    held = float(np.square(band - octave_below).mean())
    return max(left - _NOISE, 0) / held if held >= _LEAST_DETAIL else float("inf")


Array = NDArray[np.float64]


def _fit(luma: Array, enlarge: Array, invert: Array) -> Array:
    """Returns the enlarged LR that is nearest to a luma, given the matrix that enlarges and its pseudo-inverse."""
    return enlarge @ (invert @ luma @ invert.T) @ enlarge.T


@lru_cache(maxsize=64)
def _enlarged(lr_px: int, size: int, filter_: Image.Resampling) -> tuple[Array, Array]:
    """Returns the (size, lr_px) matrix by which `filter_` enlarges a column, and its pseudo-inverse."""
    enlarge = np.asarray(Image.fromarray(np.eye(lr_px, dtype=np.float32)).resize((lr_px, size), filter_), np.float64)
    return enlarge, np.linalg.pinv(enlarge).astype(np.float64)


@lru_cache(maxsize=16)
def _cosines(number: int, size: int) -> Array:
    """Returns the first `number` cosines over `size` pixels, (size, number), of length 1."""
    place = np.arange(size) + 0.5
    cosines = np.cos(np.pi / size * place[:, None] * np.arange(number))
    return cosines / np.linalg.norm(cosines, axis=0)
