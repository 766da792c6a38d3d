"""What is painted on: an image and its labels, boxes of them to paint in, and one texture for all that is rough."""

from functools import cache

import numpy as np

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.synthetic.geometry import Floats, head_distance, head_frame, project
from pkdn_lightning.data.synthetic.traits import Traits


@cache
def _texture() -> Floats:
    """A periodic texture with detail from 4 to 150 texels, deviation 0.55; every other texture is read from it."""
    white = np.random.default_rng(19).standard_normal((512, 512))
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None]) * 512
    band = (frequency > 3) / (1 + frequency) ** 0.8 * np.exp(-((frequency / 120) ** 2))
    shaped = np.fft.irfft2(np.fft.rfft2(white) * band)
    texture: Floats = (shaped / shaped.std() * 0.55).astype(np.float32).ravel()
    return texture


def noise(a: Floats, b: Floats) -> Floats:
    """The texture at (a, b), 64 texels to the unit."""
    rows, columns = (b * 64).astype(np.int32) & 511, (a * 64).astype(np.int32) & 511
    return _texture().take(rows * 512 + columns)


def somewhere(rng: np.random.Generator) -> tuple[float, float]:
    """A place on the texture."""
    return float(rng.uniform(0, 8)), float(rng.uniform(0, 8))


def double(small: Floats) -> Floats:
    """Enlarges the last two axes of a smooth field twice, bilinearly."""
    height, width = small.shape[-2:]
    wide = np.empty((*small.shape[:-1], 2 * width), np.float32)
    large = np.empty((*small.shape[:-2], 2 * height, 2 * width), np.float32)
    near, far = small * 0.75, small * 0.25
    wide[..., 2::2], wide[..., 1:-1:2] = near[..., 1:] + far[..., :-1], near[..., :-1] + far[..., 1:]
    wide[..., 0], wide[..., -1] = small[..., 0], small[..., -1]
    near, far = wide * 0.75, wide * 0.25
    np.add(near[..., 1:, :], far[..., :-1, :], out=large[..., 2::2, :])
    np.add(near[..., :-1, :], far[..., 1:, :], out=large[..., 1:-1:2, :])
    large[..., 0, :], large[..., -1, :] = wide[..., 0, :], wide[..., -1, :]
    return large


def halve(large: Floats) -> Floats:
    """Means of 2 x 2 over the last two axes."""
    rows = large[..., 0::2, :] + large[..., 1::2, :]
    small: Floats = (rows[..., 0::2] + rows[..., 1::2]) * 0.25
    return small


class Patch:
    """A box of the canvas to paint on: head-frame x, y, m = |x| and side = sign of x, all (h, w), and views to write.

    Paired features are drawn once, in m, which grows outwards on both sides.
    """

    def __init__(self, canvas: "Canvas", rows: slice, columns: slice) -> None:
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
        """Lays a colour over the image; the labels stay."""
        self._rgb += cover * (colour - self._rgb)

    def mark(self, cover: Floats, label: str) -> None:
        """Labels the pixels more than half covered; the image stays."""
        self._label[halve(cover) > 0.5] = LABELS.index(label)

    def fill(self, cover: Floats, colour: Floats, label: str) -> None:
        """Lays a colour over the image; pixels more than half covered take the label."""
        self.dab(cover, colour)
        self.mark(cover, label)

    def fill_pair(self, cover: Floats, colour: Floats, label: str) -> None:
        """Fills both sides; `l_` is the person's left, on the right of the image."""
        self.dab(cover, colour)
        self.mark(cover * (self.side > 0), f"l_{label}")
        self.mark(cover * (self.side < 0), f"r_{label}")


class Canvas:
    """The image under work at twice its size, `rgb` (3, 2S, 2S), with labels (S, S) and the head frame over it.

    x and y are the head-frame coordinates of the doubled pixels, `small` those of the (S, S) ones; smooth fields are
    worked out on `small` and doubled. `pixel` is the size of a doubled pixel in the head frame, `head` the signed
    distance to the bald head.
    """

    def __init__(self, traits: Traits, size: int) -> None:
        self.t, self.size, self.pixel = traits, size, 0.5 / (size * traits.zoom)
        self.rgb, self.label = np.zeros((3, 2 * size, 2 * size), np.float32), np.zeros((size, size), np.uint8)
        self.small = head_frame(traits, size)
        self.x, self.y = double(np.stack(self.small))
        self.head = double(head_distance(traits, *self.small))

    def project(self, points: Floats) -> Floats:
        """Head-frame points to pixels of the finished image, (..., 2)."""
        return ((project(self.t, points) + 0.5) * self.size - 0.5).astype(np.float32)

    def patch(self, x0: float, y0: float, x1: float, y1: float) -> Patch:
        """The pixels around a head-frame box, at least one."""
        grid = np.meshgrid(np.linspace(x0, x1, 4), np.linspace(y0, y1, 4))
        at = self.project(np.stack(grid, -1).astype(np.float32)).reshape(-1, 2)
        left, top = (int(low) for low in np.clip(at.min(0) - 1, 0, self.size - 1))
        right, bottom = (int(high) for high in np.clip(at.max(0) + 3, (left + 1, top + 1), self.size))
        return Patch(self, slice(top, bottom), slice(left, right))
