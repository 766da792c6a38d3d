"""Colour and light: the skin and the hair before they are lit, the light on the head, and the camera."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.synthetic.canvas import Canvas, double, halve, noise, somewhere
from pkdn_lightning.data.synthetic.geometry import Floats, bell, blob, relief
from pkdn_lightning.data.synthetic.traits import Traits

Numbers = tuple[float, ...]

TONES: Final = ((240, 200, 176), (234, 188, 160), (222, 172, 142), (202, 148, 116), (172, 116, 86), (98, 66, 52))
_LOCKS: Final = ((34, 29, 29), (52, 38, 30), (90, 61, 43), (130, 82, 49), (168, 128, 84), (210, 174, 122))
SKIN_SHADE: Final = np.array((0.8, 1.0, 1.12), np.float32).reshape(3, 1, 1)
"""Exponents of the shade: light that went through skin is red, so its shadows keep more red than blue."""


def rgb(*values: float) -> Floats:
    """8-bit values as a colour, (3, 1, 1)."""
    return (np.array(values, np.float32) / 255).reshape(3, 1, 1)


def ramp(colours: tuple[Numbers, ...], at: float) -> Floats:
    """The colour at 0 (first) .. 1 (last) of evenly spaced ones."""
    place = np.linspace(0, 1, len(colours))
    return rgb(*(float(np.interp(at, place, channel)) for channel in zip(*colours, strict=True)))


def any_of(rng: np.random.Generator, colours: tuple[Numbers, ...]) -> Floats:
    """One of the colours, a little off."""
    picked = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, 10, 3)
    return rgb(*np.clip(picked, 8, 247))


def _hair_colour(t: Traits, rng: np.random.Generator) -> Floats:
    grey = max(t.age - 0.7, 0) * 2.8 * rng.uniform(0.2, 1)
    return ramp(_LOCKS, t.hair_shade * max(1 - 1.3 * t.tone, 0.1)) * (1 - grey) + rgb(176, 172, 168) * grey


def _skin(c: Canvas, rng: np.random.Generator) -> Floats:
    """Unlit skin over the doubled pixels: tone, blush, pores, freckles, folds."""
    t, (x, y), (a, b) = c.t, c.small, somewhere(rng)
    m = np.abs(x)
    flush = blob(m, y, 0.55, 0.45, 0.3, 0.26) + 0.7 * blob(x, y, 0, t.nose_y - 0.05, 0.22, 0.15)
    flush += 0.6 * blob(m, y, 1.05, 0.2, 0.2, 0.4) - 0.4 * blob(x, y, 0, -0.6, 0.6, 0.35)
    tired = (0.3 + 0.7 * t.age) * blob(m, y, t.eye_x - 0.05, 0.16, 0.2, 0.07)
    # The fold from nostril to mouth, and lines of age on the forehead and beside the eyes.
    along = np.clip((y - t.nose_y + 0.1) / 0.4, 0, 1)
    folds = (0.06 + 0.12 * t.age + 0.1 * t.smile) * bell(m - t.nose_w - 0.03 - 0.24 * along**1.3, 0.035)
    folds *= np.sin(3.14 * along)
    waves = np.clip(np.sin(40 * (y + 0.05 * np.cos(2.2 * x))) - 0.75, 0, 1) * blob(x, y, 0, -0.62, 0.5, 0.14)
    feet = np.clip(np.sin(34 * y + 6 * m) - 0.6, 0, 1) * blob(m, y, t.eye_x + 0.33, 0.02, 0.08, 0.12)
    folds += max(t.age - 0.45, 0) * (0.9 * waves + 1.1 * feet)
    dim = double(rgb(5, 33, 28) * flush + rgb(25, 33, 25) * tired + rgb(178, 255, 255) * folds)
    spots = np.clip(noise(c.x * 0.8 + b, c.y * 0.8 + a) - 0.7, 0, 0.5) * t.freckles
    dim += rgb(110, 170, 190) * (spots * double(blob(m, y, 0.3, 0.4, 0.6, 0.35)))
    pores = 1 + (0.02 + 0.025 * t.age) * noise(c.x * 1.2 + a, c.y * 1.2 + b)
    return ramp(TONES, t.tone**1.2) * (1 - dim) * pores


def _light(c: Canvas, tint: Floats) -> tuple[Floats, Floats]:
    """Light on the head: what multiplies a colour (3, h, w), and the shine added to it (h, w)."""
    t, (x, y) = c.t, c.small
    slope_y, slope_x = np.gradient(relief(t, x, y), 2 * c.pixel)
    unit = 1 / np.sqrt(slope_x**2 + slope_y**2 + 1)
    towards = np.array([t.light_x, t.light_y, 0.75], np.float32)
    towards /= np.linalg.norm(towards)
    halfway = towards + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    lambert = (towards[2] - slope_x * towards[0] - slope_y * towards[1]) * unit
    mirror = (halfway[2] - slope_x * halfway[0] - slope_y * halfway[1]) * unit
    nose = 0.6 * abs(t.light_x) * blob(x, y, -0.2 * float(np.tanh(4 * t.light_x)), t.nose_y + 0.05, 0.13, 0.11)
    socket = 1 - 0.2 * blob(np.abs(x), y, t.eye_x - 0.08, -0.09, 0.26, 0.12)
    shade = (t.ambient + (1.08 - t.ambient) * np.clip((lambert + 0.25) / 1.25, 0, 1) * (1 - nose)) * socket
    return double(shade**SKIN_SHADE * tint), double(np.clip(mirror, 0, 1) ** 22 * t.gloss)


class Scene(Canvas):
    """The canvas with the colours of one face and the light on it.

    `skin` and `locks` are the colours of skin and hair before they are lit, `tint` is the colour of the light;
    on the head `shade` multiplies a colour and `gloss` is added to it. `rng` is for whatever else is left to chance.
    """

    def __init__(self, traits: Traits, size: int, rng: np.random.Generator) -> None:
        super().__init__(traits, size)
        self.rng = rng
        self.skin, self.locks = _skin(self, rng), _hair_colour(traits, rng)
        self.tint = rgb(255 * (1 + traits.warmth), 255, 255 * (1 - traits.warmth))
        self.shade, self.gloss = _light(self, self.tint)


def camera(c: Scene) -> NDArray[np.uint8]:
    """Lens falloff, exposure, a soft lens, grain, a shoulder instead of hard clipping, 8 bits."""
    t, small, axis = c.t, halve(c.rgb), np.linspace(-1, 1, c.size, dtype=np.float32) ** 2
    small *= t.exposure * (1 - 0.10 * (axis[:, None] + axis))
    for _ in range(2):  # along one axis, then along the other
        pad = np.concatenate([small[:, :1], small, small[:, -1:]], 1)
        small = ((1 - t.blur) * small + 0.5 * t.blur * (pad[:, 2:] + pad[:, :-2])).swapaxes(1, 2)
    small += t.grain * c.rng.standard_normal(small.shape, dtype=np.float32)
    bright = np.where(small > 0.8, 0.8 + 0.2 * np.tanh(5 * small - 4), small)
    return np.ascontiguousarray((np.clip(bright, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
