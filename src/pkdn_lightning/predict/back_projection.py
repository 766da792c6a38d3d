"""Makes an enlarged image and its reduction agree, by adding what one lacks of the other.

Resizes are Pillow's bicubic ones without rounding; see `functional.resize`, whose mode `pil` they equal.

Reference:
    M. Irani, S. Peleg, "Improving resolution by image registration", CVGIP 53(3), 1991.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.pixels import to_floats, to_levels

_ROUNDS = 4


def fit_reduced(image: NDArray[np.uint8], reduced: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the small image, (h, w, 3), whose enlargement is `image`, (H, W, 3); `reduced` is a first guess."""
    (original,), (found,) = to_floats([image]), to_floats([reduced])
    for _ in range(_ROUNDS):
        found = found + _resized(original - _resized(found, image.shape), reduced.shape)
    return to_levels(found[None])[0]


def fit_enlarged(face: NDArray[np.uint8], lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a face, (H, W, 3), plus what its reduction lacks of `lr`, (h, w, 3); details stay as they are."""
    (sr,), (wanted,) = to_floats([face]), to_floats([lr])
    return to_levels((sr + _resized(wanted - _resized(sr, lr.shape), face.shape))[None])[0]


def _resized(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Returns an image (3, h, w) resized to the first two sides of `shape`."""
    size = shape[1], shape[0]
    return np.stack([np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC)) for each in image])
