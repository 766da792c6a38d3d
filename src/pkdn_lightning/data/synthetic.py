"""A built-in set of drawn faces: picture, exact 19-class parsing map and 68 landmarks, from two integers.

`draw_face(index, seed=...)` tells one story: `Traits` are sampled, a `_Canvas` lays the head frame over the picture
(pose, framing), layers are painted from the background to the hat, and a camera finishes the picture. Whatever is
painted carries its label, so picture and parsing map agree by construction.

Coordinates. Shapes live in the *head frame*: the head seen frontally, x to the right of the picture, y down, eyes on
y = 0, cheekbones near |x| = 1, chin near y = 1.45. Yaw, pitch, roll and asymmetry are one smooth warp from there to
the picture, so a shape is written once, for a frontal head, and landmarks go through the same warp. Most shapes are
signed distances, negative inside. Pictures are (3, H, W) floats in 0..1 until the end.

Labels follow CelebAMask-HQ: a beard is `skin`; lenses and frames are `eye_g` and hide the eyes behind them.
"""

import math
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.parsing import LABELS

Floats = NDArray[np.floating[Any]]
Numbers = tuple[float, ...]


class SyntheticFace(NamedTuple):
    """A drawn face.

    Attributes:
        hr: (size, size, 3) uint8 RGB.
        parsing: (size, size) uint8, label ids 0..18.
        landmarks: (68, 2) float32 in iBUG order, x then y, in pixels, pixel centres at integers.
    """

    hr: NDArray[np.uint8]
    parsing: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


# ------------------------------------------------------------------------------------------------ what varies


def _from(low: float, high: float) -> Any:
    return field(metadata={"sample": lambda rng: float(rng.uniform(low, high))})


def _maybe(low: float, high: float) -> Any:
    """Uniform, and absent (0) where the draw is negative."""
    return field(metadata={"sample": lambda rng: max(float(rng.uniform(low, high)), 0.0)})


def _about(mean: float, std: float) -> Any:
    return field(metadata={"sample": lambda rng: mean + std * float(np.clip(rng.normal(), -2.2, 2.2))})


def _one_of(*options: Any) -> Any:
    return field(metadata={"sample": lambda rng: options[int(rng.integers(len(options)))]})


class Hair(NamedTuple):
    """A hair style, in head-frame units."""

    top: float  # volume over the skull
    side: float  # volume beside the skull
    ends: float  # y where it ends
    opening: float  # half width of the gap that shows the face
    hairline: float  # y of the hairline
    jagged: float  # how uneven hairline and ends are
    curl: float  # 0 straight .. 1 curly


HAIR: Final = {
    "bald": None,
    "buzz": Hair(0.02, 0.01, 0.05, 0.93, -0.85, 0.03, 0.3),
    "receding": Hair(0.05, 0.06, 0.25, 0.96, -1.15, 0.04, 0.1),
    "short": Hair(0.16, 0.05, 0.20, 0.94, -0.86, 0.08, 0.1),
    "quiff": Hair(0.30, 0.03, 0.10, 0.95, -0.84, 0.06, 0.2),
    "fringe": Hair(0.16, 0.10, 0.30, 0.92, -0.42, 0.10, 0.0),
    "curly": Hair(0.28, 0.20, 0.35, 0.92, -0.78, 0.09, 1.0),
    "afro": Hair(0.42, 0.40, 0.60, 0.95, -0.78, 0.06, 1.0),
    "bob": Hair(0.16, 0.20, 1.25, 0.88, -0.88, 0.06, 0.0),
    "bob and fringe": Hair(0.16, 0.20, 1.15, 0.88, -0.38, 0.09, 0.0),
    "long": Hair(0.14, 0.16, 2.60, 0.90, -0.98, 0.06, 0.1),
    "wavy": Hair(0.20, 0.30, 2.60, 0.90, -0.94, 0.06, 0.7),
    "tucked": Hair(0.12, 0.10, 2.60, 1.12, -0.94, 0.04, 0.0),
    "tied": Hair(0.06, 0.02, 0.15, 0.97, -0.92, 0.02, 0.0),
}
_HIS: Final = ("bald", "buzz", "receding", "short", "short", "short", "quiff", "quiff", "fringe", "curly", "afro")
_HERS: Final = ("bob", "bob and fringe", "long", "long", "wavy", "wavy", "tucked", "tied", "curly", "afro")


@dataclass(frozen=True)
class Traits:
    """What makes one face differ from another; every field says how it is sampled. Lengths are in head units."""

    # Pose in radians, framing in fractions of the picture.
    yaw: float = _about(0.0, 0.16)
    pitch: float = _about(0.0, 0.08)
    roll: float = _about(0.0, 0.06)
    zoom: float = _from(0.245, 0.285)
    shift_x: float = _about(0.0, 0.012)
    shift_y: float = _about(-0.02, 0.012)
    asymmetry: float = _about(0.0, 0.012)
    # Who: tone runs from light to dark, age from young to old.
    male: bool = _one_of(False, True)
    age: float = _from(0.0, 1.0)
    tone: float = _from(0.0, 1.0)
    gloss: float = _from(0.06, 0.26)
    freckles: float = _maybe(-1.5, 1.0)
    # Head.
    width: float = _about(0.97, 0.045)
    skull: float = _about(1.34, 0.04)
    chin: float = _about(1.44, 0.05)
    jaw: float = _about(2.25, 0.18)
    taper: float = _about(0.16, 0.04)
    cheek: float = _about(0.10, 0.03)
    ear: float = _about(0.26, 0.025)
    # Eyes and brows.
    eye_x: float = _about(0.425, 0.018)
    eye_w: float = _about(0.215, 0.012)
    lid: float = _about(0.108, 0.014)
    slant: float = _about(0.10, 0.07)
    crease: float = _from(0.035, 0.09)
    gaze: float = _about(0.0, 0.025)
    iris: float = _from(0.0, 1.0)
    brow_y: float = _about(0.29, 0.025)
    brow_h: float = _about(0.042, 0.008)
    arch: float = _about(0.06, 0.025)
    # Nose and mouth.
    nose_w: float = _about(0.20, 0.022)
    nose_y: float = _about(0.60, 0.025)
    nose_h: float = _about(0.12, 0.02)
    mouth_y: float = _about(0.95, 0.02)
    mouth_w: float = _about(0.33, 0.025)
    lip_up: float = _about(0.098, 0.016)
    lip_low: float = _about(0.115, 0.018)
    smile: float = _maybe(-0.2, 1.0)
    gape: float = _maybe(-0.10, 0.15)
    # Hair, make-up, things worn.
    his_hair: str = _one_of(*_HIS)
    her_hair: str = _one_of(*_HERS)
    parting: float = _about(0.0, 0.28)
    hair_shade: float = _from(0.0, 1.0)
    beard: float = _maybe(-0.5, 1.2)
    makeup: float = _maybe(-0.4, 1.0)
    glasses: str = _one_of(*[""] * 16, "clear", "clear", "clear", "dark")
    earrings: str = _one_of("", "", "hoop", "drop")
    necklace: bool = _one_of(False, False, True)
    hat: str = _one_of(*[""] * 12, "beanie", "brim")
    neckline: float = _from(0.0, 0.35)
    # Light and camera.
    light_x: float = _from(-0.8, 0.8)
    light_y: float = _from(-0.75, -0.1)
    ambient: float = _from(0.32, 0.58)
    warmth: float = _about(0.02, 0.035)
    exposure: float = _about(1.0, 0.08)
    blur: float = _from(0.0, 0.25)
    grain: float = _from(0.002, 0.012)

    @property
    def hair(self) -> Hair | None:
        """The hair style, None for a bald head."""
        return HAIR[self.his_hair if self.male else self.her_hair]


def sample_traits(rng: np.random.Generator) -> Traits:
    """Returns the traits of one face, each drawn from its own range in the order of the fields."""
    drawn = {trait.name: trait.metadata["sample"](rng) for trait in fields(Traits)}
    absent = {"makeup": 0.0, "earrings": "", "necklace": False} if drawn["male"] else {"beard": 0.0}
    return Traits(**drawn | absent)


# ------------------------------------------------------------------------------------------------ curves of the face


def _arc(s: Floats, power: float) -> Floats:
    """An arch over -1..1: 1 in the middle, 0 at and beyond the ends."""
    arch: Floats = np.maximum(1 - s * s, 0) ** power
    return arch


def _bell(distance: Floats, width: float) -> Floats:
    bell: Floats = np.exp(-((distance * (1 / width)) ** 2))
    return bell


def _blob(x: Floats, y: Floats, cx: float, cy: float, sx: float, sy: float) -> Floats:
    blob: Floats = np.exp(-(((x - cx) * (1 / sx)) ** 2) - ((y - cy) * (1 / sy)) ** 2)
    return blob


def _lids(t: Traits, s: Floats) -> tuple[Floats, Floats]:
    """Heights of the upper and the lower lid at s in -1 (inner corner) .. 1 (outer corner)."""
    line, high = -t.slant * t.eye_w * s, t.lid * (1 - 0.22 * t.smile)
    return line - high * _arc(s - 0.12 * _arc(s, 1), 0.62), line + 0.61 * high * _arc(s + 0.1 * _arc(s, 1), 0.75)


def _brow(t: Traits, s: Floats) -> tuple[Floats, Floats]:
    """Height of the middle line of the brow, and its half thickness, at s in -1 (inner end) .. 1 (outer end)."""
    middle = 0.035 * s * s - t.brow_y - t.arch * ((s + 0.9) * 0.5 - 1.6 * np.maximum(s - 0.25, 0) ** 2)
    half = t.brow_h * (1.25 if t.male else 0.85) * np.clip((1.02 - s) * 0.95, 0, 1) * np.clip((s + 1.1) * 4, 0, 1)
    return middle, half


def _mouth_half(t: Traits) -> float:
    return t.mouth_w * (1 + 0.2 * t.smile)


def _lips(t: Traits, s: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Top and bottom of the upper lip, then of the lower one, as heights at s in -1 .. 1 (picture right)."""
    line = t.mouth_y + (0.15 * t.smile + 0.01) * (0.3 - s * s) + 0.012 * _bell(s, 0.2)
    thin, bow = 1 - 0.16 * t.smile, 1 - 0.24 * _bell(s, 0.16) + 0.06 * np.cos(3 * s)
    upper, lower = line - 0.35 * t.gape * _arc(s, 0.7), line + 0.85 * t.gape * _arc(s, 0.6)
    return upper - thin * t.lip_up * bow * _arc(s, 0.8), upper, lower, lower + thin * t.lip_low * _arc(s, 0.62)


def _chin(t: Traits) -> float:
    return t.chin + 0.6 * t.gape


def landmarks(t: Traits) -> Floats:
    """Returns the 68 iBUG points in the head frame, (68, 2)."""
    turn = np.linspace(0.06, np.pi - 0.06, 17)
    drop = np.sin(turn) ** (2 / t.jaw)
    jaw = -np.sign(np.cos(turn)) * t.width * (1 - t.taper * drop**2) * np.abs(np.cos(turn)) ** (2 / t.jaw)
    parts: list[tuple[Floats, Floats]] = [(jaw, _chin(t) * drop)]
    for side in (-1, 1):  # from the outer end on the picture's left, from the inner one on its right
        s = side * np.linspace(-0.95, 0.95, 5)
        parts.append((side * (t.eye_x + 0.02 + 0.30 * s), _brow(t, s)[0]))
    parts.append((np.zeros(4), np.linspace(0.02, t.nose_y - 0.12, 4)))
    parts.append((np.linspace(-0.8, 0.8, 5) * t.nose_w, t.nose_y + np.array([0, 0.03, 0.045, 0.03, 0])))
    for side in (-1, 1):
        s = side * np.array([-1, -0.36, 0.36, 1, 0.36, -0.36])
        parts.append((side * (t.eye_x + t.eye_w * s), np.where(np.arange(6) < 3, *_lids(t, s))))
    outer = np.array([-1, -0.55, -0.2, 0, 0.2, 0.55, 1, 0.6, 0.25, 0, -0.25, -0.6])
    inner = np.array([-0.88, -0.3, 0, 0.3, 0.88, 0.3, 0, -0.3])
    parts.append((_mouth_half(t) * outer, np.where(np.arange(12) < 7, *_lips(t, outer)[::3])))
    parts.append((_mouth_half(t) * inner, np.where(np.arange(8) < 5, *_lips(t, inner)[1:3])))
    return np.concatenate([np.stack(part, 1) for part in parts]).astype(np.float32)


# ------------------------------------------------------------------------------------------------ canvas


@cache
def _texture() -> Floats:
    """A periodic texture with detail from 4 to 150 texels, deviation 0.55; every other texture is read from it."""
    white = np.random.default_rng(19).standard_normal((512, 512))
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None]) * 512
    band = (frequency > 3) / (1 + frequency) ** 0.8 * np.exp(-((frequency / 120) ** 2))
    shaped = np.fft.irfft2(np.fft.rfft2(white) * band)
    texture: Floats = (shaped / shaped.std() * 0.55).astype(np.float32).ravel()
    return texture


def _noise(a: Floats, b: Floats) -> Floats:
    """The texture at (a, b), 64 texels to the unit."""
    rows, columns = (b * np.float32(64)).astype(np.int32) & 511, (a * np.float32(64)).astype(np.int32) & 511
    return _texture().take(rows * 512 + columns)


def _double(small: Floats) -> Floats:
    """Enlarges the last two axes of a smooth field twice, bilinearly."""
    height, width = small.shape[-2:]
    wide = np.empty((*small.shape[:-1], 2 * width), np.float32)
    large = np.empty((*small.shape[:-2], 2 * height, 2 * width), np.float32)
    near, far = small * np.float32(0.75), small * np.float32(0.25)
    wide[..., 2::2], wide[..., 1:-1:2] = near[..., 1:] + far[..., :-1], near[..., :-1] + far[..., 1:]
    wide[..., 0], wide[..., -1] = small[..., 0], small[..., -1]
    near, far = wide * np.float32(0.75), wide * np.float32(0.25)
    np.add(near[..., 1:, :], far[..., :-1, :], out=large[..., 2::2, :])
    np.add(near[..., :-1, :], far[..., 1:, :], out=large[..., 1:-1:2, :])
    large[..., 0, :], large[..., -1, :] = wide[..., 0, :], wide[..., -1, :]
    return large


def _halve(large: Floats) -> Floats:
    """Means of 2 x 2 over the last two axes."""
    rows = large[..., 0::2, :] + large[..., 1::2, :]
    small: Floats = (rows[..., 0::2] + rows[..., 1::2]) * np.float32(0.25)
    return small


class _Patch:
    """A box of the canvas to paint on: head-frame x, y, m = |x| and side = sign of x, all (h, w), and views to write.

    Paired features are drawn once, in m, which grows outwards on both sides.
    """

    def __init__(self, canvas: "_Canvas", rows: slice, columns: slice) -> None:
        self._at = (..., slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop))
        self._rgb, self._label = canvas.rgb[self._at], canvas.label[rows, columns]
        self.x, self.y = canvas.x[self._at], canvas.y[self._at]
        self.m, self.side, self._sharp = np.abs(self.x), np.sign(self.x), 0.7 / canvas.pixel

    def of(self, whole: Floats) -> Floats:
        """The part of a whole-canvas field that lies in this box."""
        return whole[self._at]

    def cover(self, distance: Floats, soft: float = 1) -> Floats:
        """Anti-aliased coverage of the shape."""
        cover: Floats = np.clip(0.5 - distance * (self._sharp / soft), 0, 1)
        return cover

    def dab(self, cover: Floats, colour: Floats) -> None:
        """Lays a colour over the picture; the labels stay."""
        self._rgb += cover * (colour - self._rgb)

    def mark(self, cover: Floats, label: str) -> None:
        """Labels the pixels more than half covered; the picture stays."""
        self._label[_halve(cover) > 0.5] = LABELS.index(label)

    def fill(self, cover: Floats, colour: Floats, label: str) -> None:
        """Lays a colour over the picture; pixels more than half covered take the label."""
        self.dab(cover, colour)
        self.mark(cover, label)

    def fill_pair(self, cover: Floats, colour: Floats, label: str) -> None:
        """Fills both sides; `l_` is the person's left, on the right of the picture."""
        self.dab(cover, colour)
        self.mark(cover * (self.side > 0), f"l_{label}")
        self.mark(cover * (self.side < 0), f"r_{label}")


class _Canvas:
    """The picture under work at twice its size, `rgb` (3, 2S, 2S), with labels (S, S) and the head frame over it.

    x and y are the head-frame coordinates of the doubled pixels, `small` those of the (S, S) ones; smooth fields are
    worked out on `small` and doubled. `pixel` is the size of a doubled pixel in the head frame. The fields that all
    layers read follow from the traits: `head` is the distance to the head, `skin` its colour and `locks` that of
    the hair; `shade` and `gloss` multiply and add light, `tint` is the light's colour, `side` where it comes from.
    """

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.t, self.rng, self.size = sample_traits(rng), rng, size
        t, self.pixel = self.t, 0.5 / (size * self.t.zoom)
        self.rgb, self.label = np.zeros((3, 2 * size, 2 * size), np.float32), np.zeros((size, size), np.uint8)
        axis = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
        right, down = (axis[None] - t.shift_x) / t.zoom, (axis[:, None] - t.shift_y) / t.zoom
        cos, sin = float(np.cos(t.roll)), float(np.sin(t.roll))
        u, v = cos * right + sin * down, cos * down - sin * right
        x, y = u, v
        for _ in range(4):  # the warp moves little and smoothly, so its inverse is a short fixed-point iteration
            du, dv = self._warp(x, y)
            x, y = u - du, v - dv
        self.small = (x, y)
        self.x, self.y = _double(np.stack(self.small))
        self.head, self.skin, self.locks = _double(_head(t, x, y)), _skin(self), _hair_colour(t, rng)
        self.tint, self.side = _rgb(*(255 * (1 + t.warmth * c) for c in (1, 0, -1))), t.light_x
        self.shade, self.gloss = _light(self)

    def _warp(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """How far the pose moves points: what is nearer to the camera moves more when the head turns."""
        t, depth = self.t, 0.62 * _blob(x, y, 0, 0.25, 0.95, 1.3) + 0.13 * _blob(x, y, 0, 0.5, 0.2, 0.25)
        du = float(np.sin(t.yaw)) * depth + t.asymmetry * np.sin(1.9 * y + 1)
        return du, float(np.sin(t.pitch)) * (depth - 0.3) + t.asymmetry * np.sin(2.1 * x - 0.5)

    def project(self, points: Floats) -> Floats:
        """Head-frame points to pixels of the finished picture, (..., 2)."""
        t, (x, y) = self.t, (points[..., 0], points[..., 1])
        du, dv = self._warp(x, y)
        u, v, cos, sin = (x + du) * t.zoom, (y + dv) * t.zoom, np.cos(t.roll), np.sin(t.roll)
        at = np.stack([cos * u - sin * v + t.shift_x, sin * u + cos * v + t.shift_y], -1)
        return ((at + 0.5) * self.size - 0.5).astype(np.float32)

    def patch(self, x0: float, y0: float, x1: float, y1: float) -> _Patch:
        """The pixels around a head-frame box, at least one."""
        grid = np.meshgrid(np.linspace(x0, x1, 4), np.linspace(y0, y1, 4))
        at = self.project(np.stack(grid, -1).astype(np.float32)).reshape(-1, 2)
        left, top = (int(low) for low in np.clip(at.min(0) - 1, 0, self.size - 1))
        right, bottom = (int(high) for high in np.clip(at.max(0) + 3, (left + 1, top + 1), self.size))
        return _Patch(self, slice(top, bottom), slice(left, right))


# ------------------------------------------------------------------------------------------------ colour, light, skin


def _rgb(*values: float) -> Floats:
    """8-bit values as a colour, (3, 1, 1)."""
    return (np.array(values, np.float32) / 255).reshape(3, 1, 1)


# fmt: off
_TONES: Final = ((240, 200, 176), (234, 188, 160), (222, 172, 142), (202, 148, 116), (172, 116, 86), (98, 66, 52))
_LOCKS: Final = ((34, 29, 29), (52, 38, 30), (90, 61, 43), (130, 82, 49), (168, 128, 84), (210, 174, 122))
_IRISES: Final = ((58, 36, 24), (74, 46, 28), (92, 62, 34), (112, 98, 60), (96, 118, 92), (84, 112, 130))
_LIPS: Final = ((206, 112, 108), (192, 98, 94), (160, 82, 76), (112, 60, 56))
_STICKS: Final = ((180, 30, 50), (205, 80, 95), (140, 40, 60), (215, 110, 100))
_LIDS: Final = ((90, 60, 60), (70, 70, 100), (120, 80, 50), (60, 40, 50))
_CLOTHS: Final = ((38, 42, 54), (150, 40, 46), (222, 220, 214), (64, 92, 140), (52, 96, 74), (196, 160, 110))
_METALS: Final = ((214, 176, 90), (214, 216, 222), (240, 238, 230), (60, 130, 150))
_FRAMES: Final = ((20, 18, 18), (20, 18, 18), (70, 44, 26), (150, 130, 80), (120, 30, 40))
# fmt: on
_DARK: Final = _rgb(48, 20, 16)
"""Creases and hollows of skin."""
_SKIN_SHADE: Final = 255 * _rgb(0.8, 1.0, 1.12)
"""Exponents of the shade: light that went through skin is red, so its shadows keep more red than blue."""


def _ramp(colours: tuple[Numbers, ...], at: float) -> Floats:
    place = np.linspace(0, 1, len(colours))
    return _rgb(*(float(np.interp(at, place, channel)) for channel in zip(*colours, strict=True)))


def _any(rng: np.random.Generator, colours: tuple[Numbers, ...]) -> Floats:
    picked = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, 10, 3)
    return _rgb(*np.clip(picked, 8, 247))


def _somewhere(rng: np.random.Generator) -> tuple[float, float]:
    """A place on the texture."""
    return float(rng.uniform(0, 8)), float(rng.uniform(0, 8))


def _head(t: Traits, x: Floats, y: Floats) -> Floats:
    """Signed distance to the bald head."""
    low = y > 0
    drop = np.minimum(np.abs(y) / np.where(low, np.float32(_chin(t)), np.float32(t.skull)), 1.6)
    across = np.abs(x) / (t.width * (1 - np.float32(t.taper) * low * np.minimum(drop, 1) ** 2))
    power = np.where(low, np.float32(t.jaw), np.float32(2.3))
    rho = np.maximum(across**power + drop**power, 1e-6) ** (1 / power)
    distance: Floats = np.hypot(x, y) * (1 - 1 / rho)
    return distance


def _relief(t: Traits, x: Floats, y: Floats) -> Floats:
    """Height of the head towards the viewer, for shading."""
    m, my, ny, gap = np.abs(x), t.mouth_y, t.nose_y, t.gape
    height = 0.95 * np.sqrt(np.maximum(1 - (x / 1.12) ** 2 - ((y - 0.05) / 1.6) ** 2, 0.02))
    for amount, cx, cy, sx, sy in (  # pairs: cheek, socket, ridge, eyeball, temple, nostril, fold, mouth corner
        (t.cheek, 0.5, 0.42, 0.26, 0.24), (-0.1, t.eye_x - 0.04, -0.04, 0.26, 0.17),
        (0.05, t.eye_x, -0.28, 0.3, 0.09), (0.05, t.eye_x, 0, 0.17, 0.11), (-0.05, 0.88, -0.3, 0.2, 0.3),
        (0.045, t.nose_w * 0.7, ny - 0.05, 0.08, 0.08), (-0.03, 0.36, 0.7, 0.1, 0.16),
        (-0.02, t.mouth_w + 0.08, my, 0.06, 0.08),
    ):  # fmt: skip
        height += amount * _blob(m, y, cx, cy, sx, sy)
    for amount, cy, sx, sy in (  # middle: bridge, tip, philtrum, muzzle, lips, hollow under the lip, chin
        (t.nose_h, ny - 0.3, 0.14, 0.25), (t.nose_h, ny - 0.1, 0.13, 0.12), (-0.02, my - 0.19, 0.04, 0.07),
        (0.07, my - 0.02, 0.36, 0.26), (0.035, my - 0.05, 0.22, 0.04), (0.055, my + 0.07 + gap, 0.2, 0.055),
        (-0.05, my + 0.2 + gap, 0.18, 0.055), (0.08, _chin(t) - 0.14, 0.2, 0.14),
    ):  # fmt: skip
        height += amount * _blob(x, y, 0, cy, sx, sy)
    return height


def _light(c: _Canvas) -> tuple[Floats, Floats]:
    """Light on the head: what multiplies a colour (3, h, w), and the shine added to it (h, w)."""
    t, (x, y) = c.t, c.small
    slope_y, slope_x = np.gradient(_relief(t, x, y), np.float32(2 * c.pixel))
    unit = 1 / np.sqrt(slope_x**2 + slope_y**2 + 1)
    towards = np.array([t.light_x, t.light_y, 0.75], np.float32)
    towards /= np.linalg.norm(towards)
    halfway = towards + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    lambert = (towards[2] - slope_x * towards[0] - slope_y * towards[1]) * unit
    mirror = (halfway[2] - slope_x * halfway[0] - slope_y * halfway[1]) * unit
    nose = 0.6 * abs(t.light_x) * _blob(x, y, -0.2 * float(np.tanh(4 * t.light_x)), t.nose_y + 0.05, 0.13, 0.11)
    socket = 1 - 0.2 * _blob(np.abs(x), y, t.eye_x - 0.08, -0.09, 0.26, 0.12)
    shade = (t.ambient + (1.08 - t.ambient) * np.clip((lambert + 0.25) / 1.25, 0, 1) * (1 - nose)) * socket
    return _double(shade**_SKIN_SHADE * c.tint), _double(np.clip(mirror, 0, 1) ** 22 * t.gloss)


def _hair_colour(t: Traits, rng: np.random.Generator) -> Floats:
    grey = max(t.age - 0.7, 0) * 2.8 * rng.uniform(0.2, 1)
    return _ramp(_LOCKS, t.hair_shade * max(1 - 1.3 * t.tone, 0.1)) * (1 - grey) + _rgb(176, 172, 168) * grey


def _skin(c: _Canvas) -> Floats:
    """Unlit skin over the doubled pixels: tone, blush, pores, freckles, folds."""
    t, (x, y), (a, b) = c.t, c.small, _somewhere(c.rng)
    m = np.abs(x)
    flush = _blob(m, y, 0.55, 0.45, 0.3, 0.26) + 0.7 * _blob(x, y, 0, t.nose_y - 0.05, 0.22, 0.15)
    flush += 0.6 * _blob(m, y, 1.05, 0.2, 0.2, 0.4) - 0.4 * _blob(x, y, 0, -0.6, 0.6, 0.35)
    tired = (0.3 + 0.7 * t.age) * _blob(m, y, t.eye_x - 0.05, 0.16, 0.2, 0.07)
    # The fold from nostril to mouth, and lines of age on the forehead and beside the eyes.
    along = np.clip((y - t.nose_y + 0.1) / 0.4, 0, 1)
    folds = (0.06 + 0.12 * t.age + 0.1 * t.smile) * _bell(m - t.nose_w - 0.03 - 0.24 * along**1.3, 0.035)
    folds *= np.sin(3.14 * along)
    waves = np.clip(np.sin(40 * (y + 0.05 * np.cos(2.2 * x))) - 0.75, 0, 1) * _blob(x, y, 0, -0.62, 0.5, 0.14)
    feet = np.clip(np.sin(34 * y + 6 * m) - 0.6, 0, 1) * _blob(m, y, t.eye_x + 0.33, 0.02, 0.08, 0.12)
    folds += max(t.age - 0.45, 0) * (0.9 * waves + 1.1 * feet)
    dim = _double(_rgb(5, 33, 28) * flush + _rgb(25, 33, 25) * tired + _rgb(178, 255, 255) * folds)
    spots = np.clip(_noise(c.x * 0.8 + b, c.y * 0.8 + a) - 0.7, 0, 0.5) * t.freckles
    dim += _rgb(110, 170, 190) * (spots * _double(_blob(m, y, 0.3, 0.4, 0.6, 0.35)))
    pores = 1 + (0.02 + 0.025 * t.age) * _noise(c.x * 1.2 + a, c.y * 1.2 + b)
    return _ramp(_TONES, t.tone**1.2) * (1 - dim) * pores


# ------------------------------------------------------------------------------------------------ layers


def _background(c: _Canvas) -> None:
    """A gradient and up to a dozen blurred things."""
    axis, rng = np.linspace(0, 1, c.size, dtype=np.float32), c.rng
    u, v = axis[None], axis[:, None]

    def colour() -> Floats:
        return _rgb(*np.clip(255 * rng.uniform(0.05, 0.9) + rng.normal(0, 22, 3), 5, 250))

    turn, one, two = rng.uniform(0, 6.28), colour(), colour()
    slope = float(np.cos(turn)) * (u - 0.5) + float(np.sin(turn)) * (v - 0.5)
    rgb = one + np.clip(0.5 + 0.7 * slope, 0, 1) * (two - one)
    for _ in range(int(rng.integers(0, 10))):
        (cx, cy, strength), squash = rng.uniform(0, 1, 3).tolist(), float(rng.uniform(0.1, 1.5))
        radius, soft = float(rng.uniform(0.03, 0.3)), float(rng.uniform(0.02, 0.15))
        spot = np.clip((radius - np.hypot(u - cx, (v - cy) * squash)) / soft + 0.5, 0, strength)
        rgb += spot * (colour() - rgb)
    c.rgb[:] = _double(rgb)


def _body(c: _Canvas) -> None:
    """Neck, necklace and clothes."""
    t, rng, p = c.t, c.rng, c.patch(-2.6, 0.6, 2.6, 3.0)
    half = (0.66 if t.male else 0.54) * t.width + 0.15 * np.maximum(p.y - 1.3, 0) + 0.5 * np.maximum(p.y - 1.75, 0)
    shadow = 1 - 0.5 * np.exp(np.maximum(p.of(c.head), 0) * (-1 / 0.25))
    cords = 1 - 0.12 * _bell(p.m - 0.3 + 0.4 * (p.y - 1.5), 0.07)
    lit = np.clip(0.95 - 0.4 * (p.m / half) ** 2 + 0.3 * c.side * p.x, 0.2, 1.2) * shadow * cords
    neck = p.cover(p.m - half)
    p.fill(neck, p.of(c.skin) * lit**_SKIN_SHADE * c.tint, "neck")
    collar, sharp = 0.62 * t.width, 1.0 + 1.6 * (rng.random() > 0.4)
    inside = 1.68 + t.neckline * (1 - np.minimum(p.m / collar, 1) ** sharp)
    top = np.where(p.m < collar, inside, 1.68 + 0.3 * (p.m - collar))
    if t.necklace:
        line = np.abs(p.y - 1.72 - 0.5 * t.neckline + 0.5 * p.m**2) - float(rng.uniform(0.02, 0.045))
        p.fill(neck * p.cover(line), _any(rng, _METALS) * ((0.8 + 0.35 * np.sin(p.x * 60)) * shadow), "neck_l")
    (a, b), x, y = _somewhere(rng), p.x, p.y
    folds = 0.22 * _noise(x * 0.25 + y * 0.15 + a, y * 0.12 + b) + 0.06 * _noise(x * 2, y * 2)
    seam = 0.3 * _bell(y - top - 0.13, 0.025)
    fall = np.clip(0.8 + 0.3 * c.side * x - 0.12 * (p.m - 0.8) + folds - seam, 0.2, 1.25)
    p.dab(neck * p.cover(top - y - 0.06, 10), _DARK * 0.5)
    p.fill(p.cover(0.9 * (top - y)), _any(rng, _CLOTHS) * fall * c.tint, "cloth")


def _ears(c: _Canvas) -> None:
    t, p = c.t, c.patch(-1.35, -0.2, 1.35, 0.6)
    y = p.y - 0.2
    # Ears lie behind the axis of the head, so they move against the turn.
    lean = p.m - t.width - 0.03 + 0.3 * float(np.sin(t.yaw)) * p.side - 0.25 * np.maximum(-y, 0)
    rho = np.hypot(lean / (0.12 - 0.04 * np.clip(y / t.ear, -1, 1)), y / (t.ear + 0.05))
    hollow = 0.3 * _bell(rho - 0.7, 0.13) + 0.35 * _blob(lean, y, 0, 0.03, 0.05, 0.1)
    lit = (0.85 + 0.25 * np.clip(rho, 0, 1) ** 2 - hollow) * np.minimum(0.85 + 0.2 * c.side * p.side, 1)
    p.fill_pair(p.cover((rho - 1) * 0.12), p.of(c.skin) * lit**_SKIN_SHADE * c.tint, "ear")


def _face(c: _Canvas) -> None:
    """The bare head and the nose on it."""
    t, p = c.t, c.patch(-1.2, -1.5, 1.2, 1.7)
    p.fill(p.cover(p.of(c.head)), p.of(c.skin) * p.of(c.shade) + p.of(c.gloss), "skin")
    p = c.patch(-0.4, -0.15, 0.4, 0.85)
    half = 0.085 + (t.nose_w - 0.075) * np.clip(p.y / t.nose_y, 0, 1) ** 2.2
    base = p.y - t.nose_y - 0.05 + 0.35 * p.m**2
    p.mark(p.cover(np.maximum(np.maximum(p.m - half, base), -p.y - 0.02)), "nose")
    wing = np.hypot(p.m - t.nose_w * 0.62, p.y - t.nose_y + 0.06) - t.nose_w * 0.44
    p.dab(0.3 * _bell(wing, 0.022) * (p.m > t.nose_w * 0.7) * (p.y > t.nose_y - 0.14), _DARK)
    p.dab(0.28 * _blob(p.m, p.y, 0.02, t.nose_y + 0.06, t.nose_w * 0.85, 0.035), _DARK)
    tall = 0.034 + 0.06 * max(-t.pitch, 0)
    hole = np.hypot((p.m - t.nose_w * 0.46) / (t.nose_w * 0.3), (p.y - t.nose_y - 0.01 + 0.2 * (p.m - 0.09)) / tall)
    p.dab(0.8 * p.cover((hole - 1) * 0.04, 2), _DARK)


def _beard(c: _Canvas) -> None:
    """Stubble or beard, from shadow to opaque; it stays `skin`."""
    t, p, (a, b) = c.t, c.patch(-1.1, 0.35, 1.1, 1.75), _somewhere(c.rng)
    x, y, m = p.x, p.y, p.m
    line = 0.58 + 0.2 * _bell(m - 0.5, 0.25) - 1.1 * np.clip(m - 0.72, 0, 1)
    bare = 0.5 * _blob(x, y, 0, t.mouth_y + 0.2, 0.1, 0.06) + np.clip(1.3 * _blob(m, y, 0.48, 0.62, 0.24, 0.2), 0, 1)
    lip = np.clip((y - t.nose_y - 0.08) / 0.06, 0, 1) * np.clip(1 - (m - 0.34) / 0.1, 0, 1)
    where = np.clip(np.maximum(np.clip((y - line) / 0.12, 0, 1) * (1 - bare), lip), 0, 1)
    whisker = _noise(p.x * 2.4 + a, p.y * 1.1 + b)
    dense = np.clip(0.1 + 0.65 * t.beard + (0.25 + 0.15 * t.beard) * whisker, 0, 0.9)
    p.dab(where * dense * p.cover(p.of(c.head)), c.locks * (0.9 + 0.5 * whisker) * p.of(c.shade))


def _mouth(c: _Canvas) -> None:
    t, half, my = c.t, _mouth_half(c.t), c.t.mouth_y
    p = c.patch(-half - 0.1, my - 0.25, half + 0.1, my + 0.5)
    s, shade = p.x / half, p.of(c.shade)
    top, upper, lower, low = _lips(t, s)
    ends = (np.abs(s) - 1) * half
    # The hollow, tongue and teeth, then the lips over their rims.
    inside = np.maximum(np.maximum(upper - p.y, p.y - lower), ends)
    p.fill(p.cover(inside), _rgb(66, 18, 18) * shade, "mouth")
    p.dab(0.8 * p.cover(inside) * _blob(p.x, p.y, 0, my + 0.85 * t.gape + 0.02, 0.16, 0.06), _rgb(158, 70, 70))
    gaps = 1 - 0.2 * _bell(np.sin(p.x * (np.pi / 0.075)), 0.22)
    bright = (0.95 - 0.5 * s * s) * gaps * np.clip((p.y - upper) / 0.03 + 0.5, 0, 1) * np.clip(shade + 0.15, 0, 1)
    teeth = p.cover(np.maximum(inside, p.y - upper - 0.085 + 0.04 * s * s)) * (0.3 + 0.7 * t.smile)
    p.dab(teeth, _rgb(240, 234, 220) * bright)
    stick, bare = 0.8 * t.makeup, 0.4 * t.male
    lip = _ramp(_LIPS, t.tone) * (1 - stick - bare) + _any(c.rng, _STICKS) * stick + _ramp(_TONES, t.tone) * bare
    rims = _bell(p.y - lower, 0.03) + _bell(p.y - upper, 0.03)
    crinkle = 1 + 0.07 * _noise(p.x * 2, p.y * 0.4) - 0.16 * rims
    wet = (0.08 + 0.2 * stick) * _blob(p.x, p.y, 0.06 * c.side, my + 0.06 + 0.85 * t.gape, 0.14, 0.025)
    body, soft = lip * crinkle * shade + wet, 2.2 - 1.2 * stick
    p.fill(p.cover(np.maximum(np.maximum(top - p.y, p.y - upper), ends), soft), body * 0.84, "u_lip")
    p.fill(p.cover(np.maximum(np.maximum(lower - p.y, p.y - low), ends), soft), body, "l_lip")
    p.dab((0.75 - 0.6 * (t.gape > 0.03)) * _bell(p.y - upper, 0.017) * (np.abs(s) < 1.04), _DARK * 0.7)
    p.dab(0.5 * _blob(np.abs(s), p.y, 1.0, my - 0.105 * t.smile, 0.08, 0.035), _DARK)
    p.dab(0.2 * _blob(p.x, p.y, 0, my + t.lip_low + 0.05 + 0.85 * t.gape, half * 0.6, 0.03), _DARK)


def _eyes(c: _Canvas) -> None:
    """What lies between the lids: white, iris, pupil, glint."""
    t, p = c.t, c.patch(-c.t.eye_x - 0.36, -0.3, c.t.eye_x + 0.36, 0.25)
    s = (p.m - t.eye_x) * (1 / t.eye_w)
    top, low = _lids(t, s)
    cover = p.cover(np.maximum(np.maximum(top - p.y, p.y - low), (np.abs(s) - 1) * t.eye_w))
    under = 0.5 + 0.5 * np.clip((p.y - top) / 0.07, 0, 1)  # the upper lid throws a shadow
    bright = under * min(0.2 + 0.75 * float(p.of(c.shade).mean()), 0.97)
    white = _rgb(232, 226, 222) * (1 - 0.15 * s * s) - _rgb(12, 80, 76) * _blob(s, p.y, -1, 0, 0.3, 0.1)
    p.fill_pair(cover, white * bright, "eye")
    x, y = p.x - t.eye_x * p.side - t.gaze, p.y + 0.022
    radius = np.hypot(x, y)
    spokes = 0.25 * np.sin(11 * np.arctan2(y, x) + 3 * np.sin(radius * 60)) * (radius > 0.05)
    fibre = (1.0 + spokes + np.clip(5 * y, -0.3, 0.5)) * (1 - 0.65 * np.clip(radius * 36 - 2.8, 0, 1))
    iris = _ramp(_IRISES, t.iris if t.tone < 0.45 else 0.2 * t.iris) * 1.25
    p.dab(cover * p.cover(radius - 0.105, 1.6), iris * fibre * (0.5 + 0.5 * under))
    p.dab(cover * p.cover(radius - 0.046, 1.3), _rgb(8, 6, 6))
    p.dab(0.9 * cover * p.cover(np.hypot(x - 0.05 * c.side, y + 0.036) - 0.02), _rgb(255, 255, 255))
    _lashes(c, p, s)


def _lashes(c: _Canvas, p: _Patch, s: Floats) -> None:
    """Lid creases, lid margins and lashes: what makes an eye sharp."""
    t, (top, low) = c.t, _lids(c.t, s)
    near, above, lash = np.exp(-((s / 1.15) ** 6)), top - p.y, np.minimum(c.locks * (0.6 - 0.3 * t.makeup), 0.2)
    p.dab(0.5 * t.makeup * _bell(np.maximum(above, 0), 0.09) * near * (above > -0.02), _any(c.rng, _LIDS))
    p.dab(0.45 * _bell(above - t.crease - 0.03 * s * s, 0.017) * near, _DARK)
    thick = 0.004 + (0.014 + 0.016 * t.makeup) * (0.7 + 0.5 * np.clip(s, -1, 1))
    wing = 0.2 * t.makeup * np.clip(s - 0.9, 0, 0.25)
    rim = np.maximum(np.abs(above - wing) - thick, (np.abs(s - 0.04) - 1.02 - 0.1 * t.makeup) * t.eye_w)
    p.dab(0.9 * p.cover(rim, 1.3), lash)
    outer = np.clip(0.6 + 0.5 * s, 0.1, 1) * (np.abs(s) < 1.1)
    comb = np.clip(0.4 + 0.7 * np.sin((s + above * 2.2) * 24), 0, 1) * (above > 0)
    p.dab((0.35 + 0.5 * t.makeup) * outer * comb * np.clip(1 - above / (0.035 + 0.035 * t.makeup), 0, 1), lash)
    p.dab((0.4 + 0.3 * t.makeup) * outer * _bell(p.y - low, 0.012), lash)
    p.dab((0.08 + 0.2 * t.age) * _bell(p.y - low - 0.075 + 0.02 * s * s, 0.018) * near, _DARK)


def _brows(c: _Canvas) -> None:
    t, p = c.t, c.patch(-c.t.eye_x - 0.4, -0.55, c.t.eye_x + 0.4, -0.1)
    s = (p.m - t.eye_x - 0.02) * (1 / 0.30)
    middle, half = _brow(t, s)
    up = p.y - middle
    strand = _noise(s * 0.7 + up * 1.6 + 2 * p.side, up * 0.6 + s * 0.1 + 8 * t.arch)  # hairs rise outwards
    distance = np.maximum(np.abs(up) - half * (1 + 0.3 * strand), (np.abs(s) - 1.05) * 0.3)
    hair = np.minimum(c.locks * 0.72, 0.5) * (1 + 0.4 * strand) * np.clip(p.of(c.shade), 0.5, 1.1)
    dense = np.clip(0.8 + 0.4 * strand, 0.3, 0.95) * np.clip(0.72 + 0.5 * (s + 1), 0, 1)
    p.fill_pair(p.cover(distance, 2.5) * dense, hair, "brow")


def _strands(c: _Canvas, hair: Hair) -> tuple[Floats, Floats]:
    """Strand texture over the doubled pixels, and the distance along the strands, which run out from the parting."""
    (a, b), x, y = _somewhere(c.rng), c.small[0] - c.t.parting, c.small[1] + c.t.skull + 0.25
    along = np.hypot(x, y)
    turn = np.arctan2(x, np.maximum(y, 0.02))
    turn += hair.curl * 0.14 * np.sin(6 * along + 3 * turn) / (0.4 + along)
    turn, along = _double(np.stack([turn, along]))
    if hair.curl < 0.9:  # strands run apart, so far out there is room for finer ones
        fine = _noise(turn * 3 + b, along * 0.15 + a) * np.clip(0.5 * along - 0.3, 0.2, 0.7)
        return _noise(turn * 1.3 + a, along * 0.12 + b) + fine, along
    bend = 0.2 * _noise(c.x * 0.3 + a, c.y * 0.3 + b)
    return _noise(c.x * 0.6 + bend + b, c.y * 0.6 - bend + a), along


def _hair(c: _Canvas, hair: Hair, strand: Floats, along: Floats, *, behind: bool) -> None:
    """The hair behind the head, or that around the face."""
    t, (x, y), p, part = c.t, c.small, c.patch(-2.4, -2.4, 2.4, hair.ends + 0.2), c.t.parting
    wide = (t.width + hair.side) * (1 + 0.1 * np.clip(y, 0, 2) * (hair.ends > 1))
    centre = -0.25 if hair.side > 0.35 else 0.0  # an afro is round, other hair hangs
    up = np.minimum(y - centre, 0) / (t.skull + hair.top + centre)
    shape = np.maximum((np.abs(x / wide) ** 2.3 + np.abs(up) ** 2.3) ** (1 / 2.3) - 1, y - hair.ends)
    if not behind:
        middle = 0.5 * (hair.hairline + 1.2)
        rise = (np.minimum(y - middle, 0) + 0.12 * math.copysign(1, part) * (x - part)) / (middle - hair.hairline)
        power = 1.8 if hair.ends > 1 and hair.hairline < -0.5 else 2.6  # long hair falls away from its parting
        gap = np.abs((x - 0.12 * part) / hair.opening) ** power + np.abs(rise) ** power
        shape = np.maximum(shape, 0.75 - 0.75 * gap ** (1 / power))
    strand, along = p.of(strand), p.of(along)
    distance = p.of(_double(shape)) + hair.jagged * strand * np.clip(along - 0.15, 0, 1)
    # A bright ring round the head, darker towards the rims.
    ring = _bell(along - 0.75 - 0.1 * strand, 0.24) * np.clip(1 + 0.7 * c.side * p.x, 0.2, 1.8)
    body = (0.95 + 0.5 * strand + 0.18 * c.side * p.x - 0.05 * p.y) * (0.6 + 0.4 * np.clip(distance * -5, 0, 1))
    body = np.clip(body + 0.5 * ring, 0.25, 1.7) * (0.75 if behind else 1)
    shine = (0.02 + 0.06 * t.gloss) * strand + (0.05 + 0.16 * t.gloss) * np.clip(0.6 + strand, 0, 2) * ring
    if not behind:
        p.dab(0.4 * np.exp(np.maximum(distance, 0) * (-1 / 0.07)) * (p.of(c.head) < 0.05), _DARK * 0.6)
    p.fill(p.cover(distance, 1.8), c.locks * c.tint * body + shine, "hair")


def _glasses(c: _Canvas) -> None:
    t, p = c.t, c.patch(-1.15, -0.45, 1.15, 0.5)
    ranges = ((0.30, 0.34), (0.20, 0.27), (0.018, 0.045), (2.0, 4.5), (0.03, 0.2))
    wide, high, thick, power, streak = (float(c.rng.uniform(*ends)) for ends in ranges)
    rho = (np.abs((p.m - t.eye_x) / wide) ** power + np.abs((p.y - 0.02) / high) ** power) ** (1 / power)
    lens = (rho - 1) * high
    bridge = np.maximum(np.abs(p.y + 0.05 - 0.25 * p.m**2) - thick * 0.8, p.m - t.eye_x + wide)
    arms = np.maximum(np.abs(p.y + 0.06) - thick * 0.9, np.maximum(t.eye_x + wide - p.m, p.m - t.width - 0.02))
    frame = np.minimum(np.minimum(np.abs(lens) - thick, bridge), arms)
    inside, dark = p.cover(lens), t.glasses == "dark"
    p.dab(0.18 * np.exp(np.maximum(frame - 0.03, 0) * (-1 / 0.03)) * (p.y > 0), _DARK)
    p.mark(inside, "eye_g")
    p.dab(inside * (0.9 if dark else 0.07), _rgb(14, 14, 18) if dark else _rgb(190, 210, 220))
    p.dab(inside * streak * _bell(p.m + 0.9 * p.y - t.eye_x - 0.08, 0.07), _rgb(230, 240, 255))
    sheen = 1 + 0.8 * _bell(rho - 1 + 0.25 * thick, 0.06) * np.clip(-4 * p.y, 0, 1)
    p.fill(p.cover(frame), _any(c.rng, _FRAMES) * sheen, "eye_g")


def _earrings(c: _Canvas) -> None:
    t, size = c.t, float(c.rng.uniform(0.05, 0.1))
    p = c.patch(-1.4, 0.25, 1.4, 1.0)
    x = p.x - (t.width + 0.02) * p.side + 0.24 * float(np.sin(t.yaw))
    y = p.y - 0.25 - t.ear - size
    radius = np.hypot(x, y)
    shape = np.abs(radius - size) - 0.022 if t.earrings == "hoop" else radius - size * (0.7 + 2 * y)
    shine = 0.6 - 0.7 * np.clip((y + 0.3 * x) / size, -1, 0.5) + 0.3 * np.sin(radius * 90)
    p.fill(p.cover(shape), _any(c.rng, _METALS) * shine, "ear_r")


def _hat(c: _Canvas) -> None:
    t, p = c.t, c.patch(-2.2, -2.2, 2.2, 0.3)
    volume = 0.06 + max(t.hair.top if t.hair else 0, 0.1)
    up = np.minimum(p.y + 0.3, 0) / (t.skull + volume - 0.3)
    crown = (np.abs(p.x / (t.width + volume)) ** 2.4 + np.abs(up) ** 2.4) ** (1 / 2.4) - 1
    edge = 0.1 * p.x**2 - 0.72
    shape = np.maximum(crown, p.y - edge)
    fall = 0.85 + 0.3 * c.side * p.x - 0.25 * np.clip(crown + 0.35, 0, 1) + 0.08 * _noise(p.x * 1.5, p.y * 1.5)
    if t.hat == "beanie":
        fall *= 1 + 0.16 * np.sin(34 * p.x / (0.6 + 0.4 * np.sqrt(np.maximum(1.2 - p.x**2, 0.1))))
        fall -= 0.25 * _bell(p.y - edge + 0.42, 0.035)
    else:
        curve = np.maximum(1 - (p.x / 1.75) ** 2, 0)
        brim = np.maximum(np.abs(p.y - edge + 0.02 - 0.12 * curve) - 0.13 * np.sqrt(curve), p.m - 1.75)
        shape = np.minimum(shape, brim)
        fall += 0.15 * (brim < 0) - 0.4 * _bell(p.y - edge + 0.16, 0.05)
    p.dab(0.5 * np.exp(np.maximum(shape, 0) * -10) * (p.y > edge - 0.1) * p.cover(p.of(c.head)), _DARK * 0.5)
    p.fill(p.cover(shape), _any(c.rng, _CLOTHS) * np.clip(fall, 0.15, 1.3) * c.tint, "hat")


# ------------------------------------------------------------------------------------------------ the story


def _camera(c: _Canvas) -> NDArray[np.uint8]:
    """Lens falloff, exposure, a soft lens, grain, a shoulder instead of hard clipping, 8 bits."""
    t, small, axis = c.t, _halve(c.rgb), np.linspace(-1, 1, c.size, dtype=np.float32) ** 2
    small *= t.exposure * (1 - 0.10 * (axis[:, None] + axis))
    for _ in range(2):  # along one axis, then along the other
        pad = np.concatenate([small[:, :1], small, small[:, -1:]], 1)
        small = ((1 - t.blur) * small + 0.5 * t.blur * (pad[:, 2:] + pad[:, :-2])).swapaxes(1, 2)
    small = small + t.grain * c.rng.standard_normal(small.shape, dtype=np.float32)
    bright = np.where(small > 0.8, 0.8 + 0.2 * np.tanh(5 * small - 4), small)
    return np.ascontiguousarray((np.clip(bright, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))


def draw_face(index: int, *, seed: int = 0, size_px: int = 128) -> SyntheticFace:
    """Draws one face; the same `seed`, `index` and `size_px` give the same bytes, in any order of calls.

    Args:
        index: Which face of the set, 0 or more.
        seed: Which set, 0 or more.
        size_px: Side of the picture; the layout does not depend on it.

    Returns:
        Picture, parsing map and landmarks.
    """
    c = _Canvas(np.random.default_rng([seed, index]), size_px)
    t, hair = c.t, c.t.hair
    _background(c)
    strands = _strands(c, hair) if hair else None
    if hair and strands and hair.ends > 0.5:
        _hair(c, hair, *strands, behind=True)
    _body(c)
    _ears(c)
    _face(c)
    if t.beard:
        _beard(c)
    _mouth(c)
    _eyes(c)
    _brows(c)
    if hair and strands:
        _hair(c, hair, *strands, behind=False)
    for worn, paint in ((t.earrings, _earrings), (t.glasses, _glasses), (t.hat, _hat)):
        if worn:
            paint(c)
    return SyntheticFace(_camera(c), c.label, c.project(landmarks(t)))
