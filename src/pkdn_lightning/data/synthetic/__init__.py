"""A built-in set of drawn faces: image, exact 19-class parsing map and 68 landmarks, from two integers.

`draw_face(index, seed=...)` tells one story: `traits` are sampled, a `canvas` lays the head frame (`geometry`) over
the image, `light` colours and lights the head, `features` are painted from the background to the hat, and a camera
finishes the image. Whatever is painted carries its label, so image and parsing map agree by construction.

Shapes are written once, for a head seen frontally, most of them as signed distances, negative inside. Pose is one
warp from there to the image, and landmarks go through the same warp. Images are (3, H, W) floats in 0..1 until
the end.

Labels follow CelebAMask-HQ: a beard is `skin`; lenses and frames are `eye_g` and hide the eyes behind them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.synthetic.features import paint
from pkdn_lightning.data.synthetic.geometry import landmarks
from pkdn_lightning.data.synthetic.light import Scene, camera
from pkdn_lightning.data.synthetic.traits import sample_traits

__all__ = ["SyntheticFace", "draw_face"]


class SyntheticFace(NamedTuple):
    """A drawn face.

    Attributes:
        hr: (size, size, 3) uint8 RGB.
        parsing: (size, size) uint8, label ids 0..18.
        landmarks: (68, 2) float32 in iBUG order, x then y, in pixels, pixel centres at integers.
    """

    hr: NDArray[np.uint8]
    parsing: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def draw_face(index: int, *, seed: int = 0, size_px: int = 128) -> SyntheticFace:
    """Draws one face; the same `seed`, `index` and `size_px` give the same bytes, in any order of calls.

    Args:
        index: Which face of the set, 0 or more.
        seed: Which set, 0 or more.
        size_px: Side of the image; the layout does not depend on it.

    Returns:
        Image, parsing map and landmarks.
    """
    rng = np.random.default_rng([seed, index])
    traits = sample_traits(rng)
    scene = Scene(traits, size_px, rng)
    paint(scene)
    return SyntheticFace(camera(scene), scene.label, scene.project(landmarks(traits)))
