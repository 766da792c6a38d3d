"""Image grids: one row per face, one titled column per method or input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pkdn_lightning.data.batches import Batch
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.data.pixels import to_pixels
from pkdn_lightning.files import whole_file
from pkdn_lightning.functional.colour import round_8bit

_TITLE_PX = 18
_COLUMN_PX = 128  # minimum column width of a figure, so that titles fit
_GAP_PX = 4
_ERROR_GAIN = 4.0


def error_map(sr: Tensor, hr: Tensor) -> Tensor:
    """Returns the absolute error averaged over colours and multiplied by 4, as grey images (B, 3, H, W)."""
    error = (round_8bit(sr) - hr).abs().mean(1, keepdim=True) * _ERROR_GAIN
    return error.clamp(0, 1).expand(-1, 3, -1, -1)


def face_columns(batch: Batch, restored: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
    """Returns the columns of a grid by title.

    Args:
        batch: The faces.
        restored: Restored faces, (B, 3, H, W), by method. The error map shows the last one.
        scale: Enlargement from LR to HR.

    Returns:
        LR, bicubic, each method, HR, the parsing map if there is one, and the error map.
    """
    columns = {"LR": batch["lr"].repeat_interleave(scale, -1).repeat_interleave(scale, -2)}
    columns["bicubic"] = enlarge(batch["lr"], scale)
    columns |= restored
    columns["HR"] = batch["hr"]
    if "parsing" in batch:
        columns["parsing"] = _as_image(batch["parsing"])
    if restored:
        name, last = list(restored.items())[-1]
        columns[f"{name} error x{_ERROR_GAIN:g}"] = error_map(last, batch["hr"])
    return columns


def _as_image(parsing: Tensor) -> Tensor:
    """Returns an encoded parsing map as an image (B, 3, H, W)."""
    if parsing.shape[1] == 3:
        return parsing
    if parsing.shape[1] > 3:  # one-hot: label ids as grey levels
        parsing = parsing.argmax(1, keepdim=True).float() / (parsing.shape[1] - 1)
    return parsing.expand(-1, 3, -1, -1)


def render_grid(columns: Mapping[str, Tensor]) -> Image.Image:
    """Returns the grid as one image.

    Args:
        columns: Images (B, 3, H, W) in [0, 1] by title, all of the same shape; values outside are clamped.
    """
    pixels = _stack(columns)
    faces, height, count, width, _ = pixels.shape
    canvas = Image.new("RGB", (count * width, _TITLE_PX + faces * height), "white")
    canvas.paste(
        Image.fromarray(np.ascontiguousarray(pixels.reshape(faces * height, count * width, 3))), (0, _TITLE_PX)
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=11)
    for number, title in enumerate(columns):
        draw.text((number * width + width / 2, _TITLE_PX / 2), title, fill="black", font=font, anchor="mm")
    return canvas


def save_grid(columns: Mapping[str, Tensor], file: Path) -> Image.Image:
    """Writes the grid as PNG and returns it; see `render_grid`."""
    image = render_grid(columns)
    with whole_file(file) as temporary:
        image.save(temporary)
    return image


def render_figure(columns: Mapping[str, Tensor], below: Mapping[str, Sequence[str]], file: Path) -> Image.Image:
    """Writes a figure with captions as PNG and returns it.

    Args:
        columns: Images (B, 3, H, W) in [0, 1] by title, all of the same shape. Small ones are enlarged by an integer
            factor (nearest neighbour); long titles are wrapped.
        below: Captions below the images of a column, by title; columns without an entry have none.
        file: PNG file to write.
    """
    pixels = _stack(columns)
    faces, height, count, width, _ = pixels.shape
    zoom = max(1, -(-_COLUMN_PX // width))
    width, height = width * zoom, height * zoom
    size = width // 9
    font, line = ImageFont.load_default(size=size), size + size // 3
    titles = [_wrap(title, font, width) for title in columns]
    top = line * max(len(title) for title in titles) + _GAP_PX
    pitch_x, pitch_y = width + _GAP_PX, height + line + _GAP_PX
    canvas = Image.new("RGB", (count * pitch_x - _GAP_PX, top + faces * pitch_y), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (key, title) in enumerate(zip(columns, titles, strict=True)):
        left = number * pitch_x
        for number_above, text in enumerate(reversed(title)):  # bottom-aligned above the image
            place = (left + width / 2, top - _GAP_PX - number_above * line)
            draw.text(place, text, fill="black", font=font, anchor="ms")
        for face in range(faces):
            image = Image.fromarray(np.ascontiguousarray(pixels[face, :, number]))
            canvas.paste(image.resize((width, height), Image.Resampling.NEAREST), (left, top + face * pitch_y))
            if key in below:
                middle = (left + width / 2, top + face * pitch_y + height + line / 2)
                draw.text(middle, below[key][face], fill="black", font=font, anchor="mm")
    with whole_file(file) as temporary:
        canvas.save(temporary)
    return canvas


def _wrap(title: str, font: Any, width: int) -> list[str]:
    """Returns a title wrapped at spaces to the width of a column."""
    lines = [""]
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _stack(columns: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """Returns images as 8-bit values, (faces, H, columns, W, 3)."""
    return np.stack([to_pixels(images) for images in columns.values()], axis=2)
