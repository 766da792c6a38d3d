"""Example images for the demo, made of drawn faces so that no photographs of people are needed."""

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pkdn_lightning.data.synthetic import SyntheticFace, draw_face

FACES: Final = (2, 5, 9, 12)
"""Numbers of the drawn faces."""

_GROUP: Final = ((14, 84, 14, 96), (6, 22, 60, 27), (3, 192, 44, 30), (8, 46, 112, 25), (11, 206, 108, 28))
"""The faces of the group: number, left, top and side in pixels."""


class Example(NamedTuple):
    """An example image with its caption."""

    name: str
    file: Path


def face(number: int, size_px: int = 128) -> Image.Image:
    """Returns a drawn face, resized by bicubic interpolation to `size_px`."""
    image = Image.fromarray(draw_face(number).hr)
    return image if size_px == image.width else image.resize((size_px, size_px), Image.Resampling.BICUBIC)


def group() -> Image.Image:
    """Returns an image like a photograph, with several drawn faces of different sizes in front of a wall."""
    height, width = 160, 256
    wall = np.linspace((206, 214, 220), (150, 162, 172), height)[:, None].repeat(width, 1)
    image = Image.fromarray(wall.round().astype(np.uint8))
    for number, left, top, side in _GROUP:
        margin = max(1, side // 12)
        mask = Image.new("L", (side, side))
        mask.paste(255, (margin, margin, side - margin, side - margin))
        image.paste(face(number, side), (left, top), mask.filter(ImageFilter.GaussianBlur(margin / 2)))
    return image


def write_examples(folder: Path, lr_px: int) -> list[Example]:
    """Writes the examples into a folder as PNG, and returns them."""
    images = {f"face {place}, 128 px": face(number) for place, number in enumerate(FACES, 1)}
    images[f"face of {lr_px} px"] = face(FACES[1] + 1, lr_px)
    images["group"] = group()
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for name, image in images.items():
        file = folder / f"{name.replace(', ', ' ').replace(' ', '_')}.png"
        image.save(file)
        examples.append(Example(name, file))
    return examples


def known_map(hr: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Returns the exact parsing map of an example's face, (S, S) label ids; None for any other image.

    Args:
        hr: (S, S, 3) uint8.
    """
    return next((drawn.parsing for drawn in _drawn() if np.array_equal(drawn.hr, hr)), None)


@cache
def _drawn() -> tuple[SyntheticFace, ...]:
    return tuple(map(draw_face, FACES))
