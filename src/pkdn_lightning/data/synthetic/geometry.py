"""Where things are: the curves of the face, the head as a shape, and the pose that moves the head frame.

The *head frame* is the head seen frontally: x to the right of the image, y down, eyes on y = 0, cheekbones near
|x| = 1, chin near y = 1.45. Yaw, pitch, roll and asymmetry are one smooth warp from there to the image.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.synthetic.traits import Traits

Floats = NDArray[np.floating[Any]]


def _arc(s: Floats, power: float) -> Floats:
    """An arch over -1..1: 1 in the middle, 0 at and beyond the ends."""
    arch: Floats = np.maximum(1 - s * s, 0) ** power
    return arch


def bell(distance: Floats, width: float) -> Floats:
    """A ridge of height 1 along distance 0."""
    bell: Floats = np.exp(-((distance * (1 / width)) ** 2))
    return bell


def blob(x: Floats, y: Floats, cx: float, cy: float, sx: float, sy: float) -> Floats:
    """A hill of height 1 at (cx, cy)."""
    blob: Floats = np.exp(-(((x - cx) * (1 / sx)) ** 2) - ((y - cy) * (1 / sy)) ** 2)
    return blob


def lids(t: Traits, s: Floats) -> tuple[Floats, Floats]:
    """Heights of the upper and the lower lid at s in -1 (inner corner) .. 1 (outer corner)."""
    line, high = -t.slant * t.eye_w * s, t.lid * (1 - 0.22 * t.smile)
    return line - high * _arc(s - 0.12 * _arc(s, 1), 0.62), line + 0.61 * high * _arc(s + 0.1 * _arc(s, 1), 0.75)


def brow(t: Traits, s: Floats) -> tuple[Floats, Floats]:
    """Height of the middle line of the brow, and its half thickness, at s in -1 (inner end) .. 1 (outer end)."""
    middle = 0.035 * s * s - t.brow_y - t.arch * ((s + 0.9) * 0.5 - 1.6 * np.maximum(s - 0.25, 0) ** 2)
    half = t.brow_h * (1.25 if t.male else 0.85) * np.clip((1.02 - s) * 0.95, 0, 1) * np.clip((s + 1.1) * 4, 0, 1)
    return middle, half


def mouth_half(t: Traits) -> float:
    """Half the width of the mouth."""
    return t.mouth_w * (1 + 0.2 * t.smile)


def lips(t: Traits, s: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Top and bottom of the upper lip, then of the lower one, as heights at s in -1 .. 1 (image right)."""
    line = t.mouth_y + (0.15 * t.smile + 0.01) * (0.3 - s * s) + 0.012 * bell(s, 0.2)
    thin, bow = 1 - 0.16 * t.smile, 1 - 0.24 * bell(s, 0.16) + 0.06 * np.cos(3 * s)
    upper, lower = line - 0.35 * t.gape * _arc(s, 0.7), line + 0.85 * t.gape * _arc(s, 0.6)
    return upper - thin * t.lip_up * bow * _arc(s, 0.8), upper, lower, lower + thin * t.lip_low * _arc(s, 0.62)


def _chin(t: Traits) -> float:
    return t.chin + 0.6 * t.gape


def head_distance(t: Traits, x: Floats, y: Floats) -> Floats:
    """Signed distance to the bald head."""
    low = y > 0
    drop = np.minimum(np.abs(y) / np.where(low, np.float32(_chin(t)), np.float32(t.skull)), 1.6)
    across = np.abs(x) / (t.width * (1 - np.float32(t.taper) * low * np.minimum(drop, 1) ** 2))
    power = np.where(low, np.float32(t.jaw), np.float32(2.3))
    rho = np.maximum(across**power + drop**power, 1e-6) ** (1 / power)
    distance: Floats = np.hypot(x, y) * (1 - 1 / rho)
    return distance


def relief(t: Traits, x: Floats, y: Floats) -> Floats:
    """Height of the head towards the viewer, for shading."""
    m, my, ny, gap = np.abs(x), t.mouth_y, t.nose_y, t.gape
    height = 0.95 * np.sqrt(np.maximum(1 - (x / 1.12) ** 2 - ((y - 0.05) / 1.6) ** 2, 0.02))
    for amount, cx, cy, sx, sy in (  # pairs: cheek, socket, ridge, eyeball, temple, nostril, fold, mouth corner
        (t.cheek, 0.5, 0.42, 0.26, 0.24), (-0.1, t.eye_x - 0.04, -0.04, 0.26, 0.17),
        (0.05, t.eye_x, -0.28, 0.3, 0.09), (0.05, t.eye_x, 0, 0.17, 0.11), (-0.05, 0.88, -0.3, 0.2, 0.3),
        (0.045, t.nose_w * 0.7, ny - 0.05, 0.08, 0.08), (-0.03, 0.36, 0.7, 0.1, 0.16),
        (-0.02, t.mouth_w + 0.08, my, 0.06, 0.08),
    ):  # fmt: skip
        height += amount * blob(m, y, cx, cy, sx, sy)
    for amount, cy, sx, sy in (  # middle: bridge, tip, philtrum, muzzle, lips, hollow under the lip, chin
        (t.nose_h, ny - 0.3, 0.14, 0.25), (t.nose_h, ny - 0.1, 0.13, 0.12), (-0.02, my - 0.19, 0.04, 0.07),
        (0.07, my - 0.02, 0.36, 0.26), (0.035, my - 0.05, 0.22, 0.04), (0.055, my + 0.07 + gap, 0.2, 0.055),
        (-0.05, my + 0.2 + gap, 0.18, 0.055), (0.08, _chin(t) - 0.14, 0.2, 0.14),
    ):  # fmt: skip
        height += amount * blob(x, y, 0, cy, sx, sy)
    return height


def landmarks(t: Traits) -> Floats:
    """Returns the 68 iBUG points in the head frame, (68, 2)."""
    turn = np.linspace(0.06, np.pi - 0.06, 17)
    drop = np.sin(turn) ** (2 / t.jaw)
    jaw = -np.sign(np.cos(turn)) * t.width * (1 - t.taper * drop**2) * np.abs(np.cos(turn)) ** (2 / t.jaw)
    parts: list[tuple[Floats, Floats]] = [(jaw, _chin(t) * drop)]
    for side in (-1, 1):  # from the outer end on the image's left, from the inner one on its right
        s = side * np.linspace(-0.95, 0.95, 5)
        parts.append((side * (t.eye_x + 0.02 + 0.30 * s), brow(t, s)[0]))
    parts.append((np.zeros(4), np.linspace(0.02, t.nose_y - 0.12, 4)))
    parts.append((np.linspace(-0.8, 0.8, 5) * t.nose_w, t.nose_y + np.array([0, 0.03, 0.045, 0.03, 0])))
    for side in (-1, 1):
        s = side * np.array([-1, -0.36, 0.36, 1, 0.36, -0.36])
        parts.append((side * (t.eye_x + t.eye_w * s), np.where(np.arange(6) < 3, *lids(t, s))))
    outer = np.array([-1, -0.55, -0.2, 0, 0.2, 0.55, 1, 0.6, 0.25, 0, -0.25, -0.6])
    inner = np.array([-0.88, -0.3, 0, 0.3, 0.88, 0.3, 0, -0.3])
    parts.append((mouth_half(t) * outer, np.where(np.arange(12) < 7, *lips(t, outer)[::3])))
    parts.append((mouth_half(t) * inner, np.where(np.arange(8) < 5, *lips(t, inner)[1:3])))
    return np.concatenate([np.stack(part, 1) for part in parts]).astype(np.float32)


def _moves(t: Traits, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """How far the pose moves points: what is nearer to the camera moves more when the head turns."""
    depth = 0.62 * blob(x, y, 0, 0.25, 0.95, 1.3) + 0.13 * blob(x, y, 0, 0.5, 0.2, 0.25)
    dx = math.sin(t.yaw) * depth + t.asymmetry * np.sin(1.9 * y + 1)
    return dx, math.sin(t.pitch) * (depth - 0.3) + t.asymmetry * np.sin(2.1 * x - 0.5)


def head_frame(t: Traits, size: int) -> tuple[Floats, Floats]:
    """Returns x and y in the head frame of every pixel of an image, (size, size) each."""
    axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    right, down = (axis[None] - t.shift_x) / t.zoom, (axis[:, None] - t.shift_y) / t.zoom
    cos, sin = math.cos(t.roll), math.sin(t.roll)
    u, v = cos * right + sin * down, cos * down - sin * right
    x, y = u, v
    for _ in range(4):  # the warp moves little and smoothly, so its inverse is a short fixed-point iteration
        dx, dy = _moves(t, x, y)
        x, y = u - dx, v - dy
    return x, y


def project(t: Traits, points: Floats) -> Floats:
    """Returns where head-frame points lie in the image, (..., 2), from -0.5 to 0.5 across it."""
    x, y = points[..., 0], points[..., 1]
    dx, dy = _moves(t, x, y)
    u, v, cos, sin = (x + dx) * t.zoom, (y + dy) * t.zoom, np.cos(t.roll), np.sin(t.roll)
    return np.stack([cos * u - sin * v + t.shift_x, sin * u + cos * v + t.shift_y], -1)
