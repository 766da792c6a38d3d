"""Draws the faces of the page on data: degraded, and restored by the included models for photographs.

    python docs/degradations.py

All are test portraits, which are in the public domain and which no included model was trained on.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.blind import make_blind
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.pixels import to_floats, to_levels, to_pixels
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.models.runtimes import load_runtime

HERE: Final = Path(__file__).parent
FIRST_TEST_ROW: Final = 916  # in the store of portraits, where a test face's degradation depends on its row
DEGRADED: Final = 8
RESTORED: Final = 20
COLUMNS: Final = 5

Pixels = NDArray[np.uint8]


def low_resolution(hr: Pixels, degradation: str, scale: int) -> Pixels:
    """Returns LR (B, h, w, 3) of the first test portraits (B, H, W, 3), as an evaluation sees it."""
    cfg = compose("train", ["experiment=student_small", f"degradation={degradation}", f"data.scale={scale}"])
    strengths: Any = OmegaConf.to_container(cfg.data.blind)
    blind = make_blind(cfg.data.degradation, strengths, scale, hr.shape[1])
    rows = np.arange(FIRST_TEST_ROW, FIRST_TEST_ROW + len(hr))
    drawn = {name: torch.from_numpy(values) for name, values in blind.draw_fixed(rows).items()} if blind else {}
    return to_pixels(degrade(torch.from_numpy(hr).permute(0, 3, 1, 2), scale, cfg.data.degradation, drawn))


def enlarged(lr: Pixels, side: int) -> Pixels:
    """Returns faces (B, h, w, 3) with visible pixels, (B, side, side, 3)."""
    times = side // lr.shape[1]
    return lr.repeat(times, 1).repeat(times, 2)


def draw_degradations(hr: Pixels) -> Image.Image:
    """Returns faces, and their LR under each degradation, row by row."""
    lr = [low_resolution(hr, degradation, 8) for degradation in ("bicubic", "blind", "blind2")]
    rows = [hr, *(enlarged(each, hr.shape[1]) for each in lr)]
    return Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))


def draw_restorations(hr: Pixels) -> Image.Image:
    """Returns faces as LR of `blind`, restored, and as they were, in columns; half from 16 pixels, half from 32."""
    shown = []
    for part, scale in zip(np.split(hr, 2), (8, 4), strict=True):
        lr = low_resolution(part, "blind", scale)
        sr = to_levels(load_runtime(f"photos_x{scale}")(to_floats(lr)))
        shown += list(np.concatenate([enlarged(lr, hr.shape[1]), sr, part], axis=2))
    rows = [np.concatenate(shown[start : start + COLUMNS], axis=1) for start in range(0, len(shown), COLUMNS)]
    return Image.fromarray(np.concatenate(rows))


def main() -> None:
    """Writes both images."""
    hr = np.stack([portrait.hr for portrait in portraits("test", RESTORED)])
    draw_degradations(hr[:DEGRADED]).save(HERE / "degradations.jpg", quality=90)
    draw_restorations(hr).save(HERE / "restorations.jpg", quality=88)


if __name__ == "__main__":
    main()
