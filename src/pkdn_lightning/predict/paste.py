"""Restored faces go back into their photograph, without a seam."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.errors import PKDNError
from pkdn_lightning.faces.crop import Box
from pkdn_lightning.predict.alignment import placed
from pkdn_lightning.predict.back_projection import fit_enlarged
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.routing import Decision

_SOFT = 0.15  # share of the square's side over which a face fades into the photograph, on each side


class Placed(NamedTuple):
    """A restored face and its place.

    Attributes:
        box: Its square in the photograph, parts of which may lie outside.
        pixels: What belongs there, upright, (S, S, 3).
        angle: By how many degrees it is turned clockwise around the square's centre.
    """

    box: Box
    pixels: NDArray[np.uint8]
    angle: float = 0.0


def assemble(
    image: ImageFile, decision: Decision, results: Sequence[NDArray[np.uint8] | PKDNError], strength: float = 1.0
) -> ImageFile:
    """Returns an image with what the network made of it.

    Args:
        image: The image.
        decision: What was decided about it.
        results: What became of each of `decision.lr`, (S, S, 3), or why nothing did.
        strength: Share of the restored face in the result; the rest is the original, enlarged by bicubic interpolation.

    Raises:
        PKDNError: If the network could not take one of them.
    """
    faces = []
    for result in results:
        if isinstance(result, PKDNError):
            raise result
        # Networks tint grey faces a little.
        faces.append(np.asarray(Image.fromarray(result).convert("L").convert("RGB")) if image.grey else result)
    if decision.mode != "photo":
        restored = Image.fromarray(faces[0])
        if decision.mode == "lr":  # without what was added to odd sides
            scale = decision.models[0].scale
            restored = restored.crop((0, 0, image.rgb.width * scale, image.rgb.height * scale))
        original = image.rgb.resize(restored.size, Image.Resampling.BICUBIC)
        return image.with_pixels(Image.blend(original, restored, strength))
    wanted = [face for face in decision.faces if not face.why_kept]
    # In the colours of the LR that each came from, so that it fits what is around it.
    fitted = [
        Placed(face.box, fit_enlarged(result, face.lr), face.angle) for face, result in zip(wanted, faces, strict=True)
    ]
    return image.with_pixels(paste(image.rgb, fitted, decision.upscale, strength))


def paste(image: Image.Image, faces: Sequence[Placed], upscale: int, strength: float = 1.0) -> Image.Image:
    """Returns a photograph enlarged by bicubic interpolation, with restored faces in their places.

    Args:
        image: The photograph, RGB.
        faces: The restored faces.
        upscale: How many times larger the result is.
        strength: Opacity of the restored faces.
    """
    size = (image.width * upscale, image.height * upscale)
    canvas = image.resize(size, Image.Resampling.BICUBIC) if upscale > 1 else image.copy()
    # The largest come first, so that a small face in front of a large one is not painted over.
    for each in sorted(faces, key=lambda each: -each.box.side):
        box = Box(*(value * upscale for value in each.box))
        face, mask, place = placed(Image.fromarray(each.pixels), soft_mask(box.side), box, each.angle)
        canvas.paste(face, place[:2], mask.point(lambda value: round(value * strength)))
    return canvas


def soft_mask(side: int) -> Image.Image:
    """Returns how much of a face is seen: all in the middle, nothing at the border of its square, smoothly between."""
    distance = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (side * _SOFT)
    ramp = np.clip(distance, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return Image.fromarray((np.outer(ramp, ramp) * 255).round().astype(np.uint8))
