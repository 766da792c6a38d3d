"""The images that are shown of a face, with their names and metrics."""

import base64
import io
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.data.labels import PALETTE
from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.demo.actions import Pixels, RestoredFace
from pkdn_lightning.metrics import psnr_y, ssim_y

LR: Final = "LR"
BICUBIC: Final = "Bicubic"
TEACHER: Final = "Teacher"
ORIGINAL: Final = "Original"
PARSING: Final = "Parsing map"

_LARGE_PX: Final = 512  # approximate side of enlarged views


class View(NamedTuple):
    """An image of a face.

    Attributes:
        name: Its name.
        pixels: (H, W, 3), the same size for all views of a face.
        about: A short description.
        psnr: PSNR to the original in dB; None without an original, or if this is not a restoration.
        ssim: SSIM to the original, likewise.
        smooth: Whether to enlarge it by bicubic interpolation instead of nearest neighbour.
    """

    name: str
    pixels: Pixels
    about: str
    psnr: float | None = None
    ssim: float | None = None
    smooth: bool = True

    @property
    def values(self) -> str:
        """PSNR and SSIM as text; empty if there are none."""
        return "" if self.psnr is None else f"{self.psnr:.2f} dB · SSIM {self.ssim:.3f}"


def views(face: RestoredFace) -> list[View]:
    """Returns the views of a face in display order."""
    sr = next(iter(face.sr.values()))
    height, width = face.lr.shape[:2]
    scale = sr.shape[0] // height
    blocks = face.lr.repeat(scale, 0).repeat(scale, 1)
    bicubic = to_pixels(enlarge(to_tensor([face.lr]), scale))[0]
    shown = [
        View(LR, blocks, f"{width}×{height} px, the model's input", smooth=False),
        _measured(BICUBIC, bicubic, "bicubic interpolation", face.hr),
        *(_measured(name, pixels, "restored", face.hr) for name, pixels in face.sr.items()),
    ]
    if face.taught is not None:
        shown.append(_measured(TEACHER, face.taught, "also reads the parsing map", face.hr))
    if face.hr is not None:
        shown.append(View(ORIGINAL, face.hr, f"as uploaded, {face.hr.shape[1]}×{face.hr.shape[0]} px"))
    if face.parsing is not None:
        coloured = np.array(PALETTE, dtype=np.uint8)[face.parsing]
        shown.append(View(PARSING, coloured, "second input of the teacher", smooth=False))
    return shown


def _measured(name: str, sr: Pixels, about: str, hr: Pixels | None) -> View:
    if hr is None or hr.shape != sr.shape:
        return View(name, sr, about)
    pair = to_tensor([sr]), to_tensor([hr])
    return View(name, sr, about, float(psnr_y(*pair)), float(ssim_y(*pair)))


def large(view: View) -> Image.Image:
    """Returns a view enlarged by an integer factor for display."""
    image = Image.fromarray(view.pixels)
    times = max(1, round(_LARGE_PX / max(image.size)))
    filtering = Image.Resampling.BICUBIC if view.smooth else Image.Resampling.NEAREST
    return image.resize((image.width * times, image.height * times), filtering)


def data_uri(pixels: Pixels) -> str:
    """Returns an image as a PNG data URI, which needs no file on the server."""
    with io.BytesIO() as written:
        Image.fromarray(pixels).save(written, "PNG")
        return f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}"
