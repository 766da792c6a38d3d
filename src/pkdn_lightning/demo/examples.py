"""Example images for the demo: included portraits of the test split."""

from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.portraits import Portrait, portrait

FACES: Final = ("F000455", "H001056", "K000391", "C001061")
"""Names of the portraits that are examples of one face."""

_LOW_RES: Final = "K000399"
_GROUP: Final = (
    ("W000813", 14, 14, 112), ("S001157", 146, 24, 24), ("N000147", 190, 30, 22), ("L000553", 150, 88, 24),
    ("S001184", 196, 84, 26),
)  # fmt: skip
"""The portraits of the group: name, left, top and side in pixels."""


class Example(NamedTuple):
    """An example image with its caption."""

    name: str
    file: Path


def face(name: str, size_px: int = 128) -> Image.Image:
    """Returns a portrait, resized by bicubic interpolation to `size_px`."""
    return Image.fromarray(portrait("test", name, size_px).hr)


def group() -> Image.Image:
    """Returns an image like a photograph: a wall with portraits of different sizes."""
    image = Image.new("RGB", (256, 140), (206, 210, 214))
    for name, left, top, side in _GROUP:
        image.paste(face(name, side), (left, top))
    return image


def write_examples(folder: Path, lr_px: int) -> list[Example]:
    """Writes the examples into a folder as PNG, and returns them."""
    images = {f"face {place}, 128 px": face(name) for place, name in enumerate(FACES, 1)}
    images[f"face of {lr_px} px"] = face(_LOW_RES, lr_px)
    images["group"] = group()
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for name, image in images.items():
        file = folder / f"{name.replace(', ', ' ').replace(' ', '_')}.png"
        image.save(file)
        examples.append(Example(name, file))
    return examples


def known_map(hr: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Returns the included parsing map of an example's face, (S, S) label ids; None for any other image.

    Args:
        hr: (S, S, 3) uint8.
    """
    return next((example.parsing for example in _examples() if np.array_equal(example.hr, hr)), None)


@cache
def _examples() -> tuple[Portrait, ...]:
    return tuple(portrait("test", name) for name in FACES)
