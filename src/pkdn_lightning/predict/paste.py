"""Restored faces go back into their photograph, without a seam."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.errors import PKDNError
from pkdn_lightning.faces.crop import Box
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.routing import Decision

_SOFT = 0.15  # share of the square's side over which a face fades into the photograph, on each side


def assemble(image: ImageFile, decision: Decision, results: Sequence[NDArray[np.uint8] | PKDNError]) -> ImageFile:
    """Returns an image with what the network made of it.

    Args:
        image: The image.
        decision: What was decided about it.
        results: What became of each of `decision.lr`, (S, S, 3), or why nothing did.

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
        return image.with_pixels(Image.fromarray(faces[0]))
    boxes = [face.box for face in decision.faces if not face.why_kept]
    placed = [(box, match(face, lr)) for box, face, lr in zip(boxes, faces, decision.lr, strict=True)]
    return image.with_pixels(paste(image.rgb, placed, decision.upscale))


def match(face: NDArray[np.uint8], lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a restored face in the colours of the LR it came from, so that it fits what is around it.

    What the reduced face lacks of the LR is added (one back-projection); details stay as they are.

    Args:
        face: (S, S, 3).
        lr: (s, s, 3).
    """
    sr, wanted = to_tensor([face]), to_tensor([lr])
    return to_pixels(sr + bicubic(wanted - bicubic(sr, lr.shape[:2]), face.shape[:2]))[0]


def paste(image: Image.Image, faces: Sequence[tuple[Box, NDArray[np.uint8]]], upscale: int) -> Image.Image:
    """Returns a photograph enlarged by bicubic interpolation, with restored faces in their places.

    Args:
        image: The photograph, RGB.
        faces: Squares of the photograph, parts of which may lie outside, and (S, S, 3) what belongs there.
        upscale: How many times larger the result is.
    """
    size = (image.width * upscale, image.height * upscale)
    canvas = image.resize(size, Image.Resampling.BICUBIC) if upscale > 1 else image.copy()
    # The largest come first, so that a small face in front of a large one is not painted over.
    for box, face in sorted(faces, key=lambda each: -each[0].side):
        left, top, side = box.left * upscale, box.top * upscale, box.side * upscale
        sized = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
        canvas.paste(sized, (left, top), soft_mask(side))
    return canvas


def soft_mask(side: int) -> Image.Image:
    """Returns how much of a face is seen: all in the middle, nothing at the border of its square, smoothly between."""
    distance = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (side * _SOFT)
    ramp = np.clip(distance, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return Image.fromarray((np.outer(ramp, ramp) * 255).round().astype(np.uint8))
