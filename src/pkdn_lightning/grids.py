"""Picture grids: one row per face, one titled column per view of it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pkdn_lightning.data.datamodule import Batch
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.functional.colour import round_8bit

_TITLE_PX = 18
_ERROR_GAIN = 4.0


def error_map(sr: Tensor, hr: Tensor) -> Tensor:
    """Returns the mean absolute difference over colours, four times amplified, as grey pictures (B, 3, H, W)."""
    error = (round_8bit(sr) - hr).abs().mean(1, keepdim=True) * _ERROR_GAIN
    return error.clamp(0, 1).expand(-1, 3, -1, -1)


def face_columns(batch: Batch, restored: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
    """Returns the views of a batch that a grid shows, by title.

    Args:
        batch: The faces.
        restored: What each method made of them, (B, 3, H, W), by the method's name. The last one's errors are shown.
        scale: Enlargement from LR to HR.

    Returns:
        LR, bicubic, each method, HR, the parsing map if there is one with three channels, and the error map.
    """
    columns = {"LR": batch["lr"].repeat_interleave(scale, -1).repeat_interleave(scale, -2)}
    columns["bicubic"] = enlarge(batch["lr"], scale)
    columns |= restored
    columns["HR"] = batch["hr"]
    if "parsing" in batch:
        columns["parsing"] = _as_picture(batch["parsing"])
    if restored:
        name, last = list(restored.items())[-1]
        columns[f"{name} error x{_ERROR_GAIN:g}"] = error_map(last, batch["hr"])
    return columns


def _as_picture(parsing: Tensor) -> Tensor:
    """Returns an encoded parsing map of any encoding as a picture (B, 3, H, W)."""
    if parsing.shape[1] == 3:
        return parsing
    if parsing.shape[1] > 3:  # one-hot: back to labels, spread over the greys
        parsing = parsing.argmax(1, keepdim=True).float() / (parsing.shape[1] - 1)
    return parsing.expand(-1, 3, -1, -1)


def render_grid(columns: Mapping[str, Tensor]) -> Image.Image:
    """Returns the grid as one picture.

    Args:
        columns: Pictures (B, 3, H, W) in [0, 1] by title, all of the same shape; values outside are clamped.
    """
    stacked = torch.stack([round_8bit(pictures.detach().float().cpu()) for pictures in columns.values()])
    count, faces, _, height, width = stacked.shape
    pixels = (stacked.permute(1, 3, 0, 4, 2) * 255).round().to(torch.uint8)  # (faces, H, columns, W, 3)
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
    picture = render_grid(columns)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)
    return picture
