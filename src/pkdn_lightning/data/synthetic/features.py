"""The layers of the image, from the background to the hat."""

import math
from typing import Final

import numpy as np

from pkdn_lightning.data.synthetic.canvas import Patch, double, noise, somewhere
from pkdn_lightning.data.synthetic.geometry import Floats, bell, blob, brow, lids, lips, mouth_half
from pkdn_lightning.data.synthetic.light import SKIN_SHADE, TONES, Scene, any_of, ramp, rgb
from pkdn_lightning.data.synthetic.traits import Hair

_IRISES: Final = ((58, 36, 24), (74, 46, 28), (92, 62, 34), (112, 98, 60), (96, 118, 92), (84, 112, 130))
_LIPS: Final = ((206, 112, 108), (192, 98, 94), (160, 82, 76), (112, 60, 56))
_STICKS: Final = ((180, 30, 50), (205, 80, 95), (140, 40, 60), (215, 110, 100))
_LIDS: Final = ((90, 60, 60), (70, 70, 100), (120, 80, 50), (60, 40, 50))
_CLOTHS: Final = ((38, 42, 54), (150, 40, 46), (222, 220, 214), (64, 92, 140), (52, 96, 74), (196, 160, 110))
_METALS: Final = ((214, 176, 90), (214, 216, 222), (240, 238, 230), (60, 130, 150))
_FRAMES: Final = ((20, 18, 18), (20, 18, 18), (70, 44, 26), (150, 130, 80), (120, 30, 40))
_DARK: Final = rgb(48, 20, 16)
"""Creases and hollows of skin."""


def paint(c: Scene) -> None:
    """Paints everything, from the background to the hat."""
    t, hair = c.t, c.t.hair
    _background(c)
    grown = (hair, *_strands(c, hair)) if hair else None
    if grown and grown[0].ends > 0.5:
        _hair(c, *grown, behind=True)
    _body(c)
    _ears(c)
    _face(c)
    if t.beard:
        _beard(c)
    _mouth(c)
    _eyes(c)
    _brows(c)
    if grown:
        _hair(c, *grown, behind=False)
    for worn, layer in ((t.earrings, _earrings), (t.glasses, _glasses), (t.hat, _hat)):
        if worn:
            layer(c)


def _background(c: Scene) -> None:
    """A gradient and up to nine blurred things."""
    axis, rng = np.linspace(0, 1, c.size, dtype=np.float32), c.rng
    u, v = axis[None], axis[:, None]

    def colour() -> Floats:
        return rgb(*np.clip(255 * rng.uniform(0.05, 0.9) + rng.normal(0, 22, 3), 5, 250))

    turn, one, two = rng.uniform(0, 6.28), colour(), colour()
    slope = math.cos(turn) * (u - 0.5) + math.sin(turn) * (v - 0.5)
    image = one + np.clip(0.5 + 0.7 * slope, 0, 1) * (two - one)
    for _ in range(int(rng.integers(0, 10))):
        (cx, cy, strength), squash = rng.uniform(0, 1, 3).tolist(), float(rng.uniform(0.1, 1.5))
        radius, soft = float(rng.uniform(0.03, 0.3)), float(rng.uniform(0.02, 0.15))
        spot = np.clip((radius - np.hypot(u - cx, (v - cy) * squash)) / soft + 0.5, 0, strength)
        image += spot * (colour() - image)
    c.rgb[:] = double(image)


def _body(c: Scene) -> None:
    """Neck, necklace and clothes."""
    t, rng, p = c.t, c.rng, c.patch(-2.6, 0.6, 2.6, 3.0)
    half = (0.66 if t.male else 0.54) * t.width + 0.15 * np.maximum(p.y - 1.3, 0) + 0.5 * np.maximum(p.y - 1.75, 0)
    shadow = 1 - 0.5 * np.exp(np.maximum(p.of(c.head), 0) * -4)
    cords = 1 - 0.12 * bell(p.m - 0.3 + 0.4 * (p.y - 1.5), 0.07)
    lit = np.clip(0.95 - 0.4 * (p.m / half) ** 2 + 0.3 * t.light_x * p.x, 0.2, 1.2) * shadow * cords
    neck = p.cover(p.m - half)
    p.fill(neck, p.of(c.skin) * lit**SKIN_SHADE * c.tint, "neck")
    collar, sharp = 0.62 * t.width, 1.0 + 1.6 * (rng.random() > 0.4)
    inside = 1.68 + t.neckline * (1 - np.minimum(p.m / collar, 1) ** sharp)
    top = np.where(p.m < collar, inside, 1.68 + 0.3 * (p.m - collar))
    if t.necklace:
        line = np.abs(p.y - 1.72 - 0.5 * t.neckline + 0.5 * p.m**2) - float(rng.uniform(0.02, 0.045))
        p.fill(neck * p.cover(line), any_of(rng, _METALS) * ((0.8 + 0.35 * np.sin(p.x * 60)) * shadow), "neck_l")
    (a, b), x, y = somewhere(rng), p.x, p.y
    folds = 0.22 * noise(x * 0.25 + y * 0.15 + a, y * 0.12 + b) + 0.06 * noise(x * 2, y * 2)
    seam = 0.3 * bell(y - top - 0.13, 0.025)
    fall = np.clip(0.8 + 0.3 * t.light_x * x - 0.12 * (p.m - 0.8) + folds - seam, 0.2, 1.25)
    p.dab(neck * p.cover(top - y - 0.06, 10), _DARK * 0.5)
    p.fill(p.cover(0.9 * (top - y)), any_of(rng, _CLOTHS) * fall * c.tint, "cloth")


def _ears(c: Scene) -> None:
    t, p = c.t, c.patch(-1.35, -0.2, 1.35, 0.6)
    y = p.y - 0.2
    # Ears lie behind the axis of the head, so they move against the turn.
    lean = p.m - t.width - 0.03 + 0.3 * math.sin(t.yaw) * p.side - 0.25 * np.maximum(-y, 0)
    rho = np.hypot(lean / (0.12 - 0.04 * np.clip(y / t.ear, -1, 1)), y / (t.ear + 0.05))
    hollow = 0.3 * bell(rho - 0.7, 0.13) + 0.35 * blob(lean, y, 0, 0.03, 0.05, 0.1)
    lit = (0.85 + 0.25 * np.clip(rho, 0, 1) ** 2 - hollow) * np.minimum(0.85 + 0.2 * t.light_x * p.side, 1)
    p.fill_pair(p.cover((rho - 1) * 0.12), p.of(c.skin) * lit**SKIN_SHADE * c.tint, "ear")


def _face(c: Scene) -> None:
    """The bare head and the nose on it."""
    t, p = c.t, c.patch(-1.2, -1.5, 1.2, 1.7)
    p.fill(p.cover(p.of(c.head)), p.of(c.skin) * p.of(c.shade) + p.of(c.gloss), "skin")
    p = c.patch(-0.4, -0.15, 0.4, 0.85)
    half = 0.085 + (t.nose_w - 0.075) * np.clip(p.y / t.nose_y, 0, 1) ** 2.2
    base = p.y - t.nose_y - 0.05 + 0.35 * p.m**2
    p.mark(p.cover(np.maximum(np.maximum(p.m - half, base), -p.y - 0.02)), "nose")
    wing = np.hypot(p.m - t.nose_w * 0.62, p.y - t.nose_y + 0.06) - t.nose_w * 0.44
    p.dab(0.3 * bell(wing, 0.022) * (p.m > t.nose_w * 0.7) * (p.y > t.nose_y - 0.14), _DARK)
    p.dab(0.28 * blob(p.m, p.y, 0.02, t.nose_y + 0.06, t.nose_w * 0.85, 0.035), _DARK)
    tall = 0.034 + 0.06 * max(-t.pitch, 0)
    hole = np.hypot((p.m - t.nose_w * 0.46) / (t.nose_w * 0.3), (p.y - t.nose_y - 0.01 + 0.2 * (p.m - 0.09)) / tall)
    p.dab(0.8 * p.cover((hole - 1) * 0.04, 2), _DARK)


def _beard(c: Scene) -> None:
    """Stubble or beard, from shadow to opaque; it stays `skin`."""
    t, p, (a, b) = c.t, c.patch(-1.1, 0.35, 1.1, 1.75), somewhere(c.rng)
    x, y, m = p.x, p.y, p.m
    line = 0.58 + 0.2 * bell(m - 0.5, 0.25) - 1.1 * np.clip(m - 0.72, 0, 1)
    bare = 0.5 * blob(x, y, 0, t.mouth_y + 0.2, 0.1, 0.06) + np.clip(1.3 * blob(m, y, 0.48, 0.62, 0.24, 0.2), 0, 1)
    lip = np.clip((y - t.nose_y - 0.08) / 0.06, 0, 1) * np.clip(1 - (m - 0.34) / 0.1, 0, 1)
    where = np.clip(np.maximum(np.clip((y - line) / 0.12, 0, 1) * (1 - bare), lip), 0, 1)
    whisker = noise(p.x * 2.4 + a, p.y * 1.1 + b)
    dense = np.clip(0.1 + 0.65 * t.beard + (0.25 + 0.15 * t.beard) * whisker, 0, 0.9)
    p.dab(where * dense * p.cover(p.of(c.head)), c.locks * (0.9 + 0.5 * whisker) * p.of(c.shade))


def _mouth(c: Scene) -> None:
    t, half, my = c.t, mouth_half(c.t), c.t.mouth_y
    p = c.patch(-half - 0.1, my - 0.25, half + 0.1, my + 0.5)
    s, shade = p.x / half, p.of(c.shade)
    top, upper, lower, low = lips(t, s)
    ends = (np.abs(s) - 1) * half
    # The hollow, tongue and teeth, then the lips over their rims.
    inside = np.maximum(np.maximum(upper - p.y, p.y - lower), ends)
    p.fill(p.cover(inside), rgb(66, 18, 18) * shade, "mouth")
    p.dab(0.8 * p.cover(inside) * blob(p.x, p.y, 0, my + 0.85 * t.gape + 0.02, 0.16, 0.06), rgb(158, 70, 70))
    gaps = 1 - 0.2 * bell(np.sin(p.x * (np.pi / 0.075)), 0.22)
    bright = (0.95 - 0.5 * s * s) * gaps * np.clip((p.y - upper) / 0.03 + 0.5, 0, 1) * np.clip(shade + 0.15, 0, 1)
    teeth = p.cover(np.maximum(inside, p.y - upper - 0.085 + 0.04 * s * s)) * (0.3 + 0.7 * t.smile)
    p.dab(teeth, rgb(240, 234, 220) * bright)
    stick, bare = 0.8 * t.makeup, 0.4 * t.male
    lip = ramp(_LIPS, t.tone) * (1 - stick - bare) + any_of(c.rng, _STICKS) * stick + ramp(TONES, t.tone) * bare
    rims = bell(p.y - lower, 0.03) + bell(p.y - upper, 0.03)
    crinkle = 1 + 0.07 * noise(p.x * 2, p.y * 0.4) - 0.16 * rims
    wet = (0.08 + 0.2 * stick) * blob(p.x, p.y, 0.06 * t.light_x, my + 0.06 + 0.85 * t.gape, 0.14, 0.025)
    body, soft = lip * crinkle * shade + wet, 2.2 - 1.2 * stick
    p.fill(p.cover(np.maximum(np.maximum(top - p.y, p.y - upper), ends), soft), body * 0.84, "u_lip")
    p.fill(p.cover(np.maximum(np.maximum(lower - p.y, p.y - low), ends), soft), body, "l_lip")
    p.dab((0.75 - 0.6 * (t.gape > 0.03)) * bell(p.y - upper, 0.017) * (np.abs(s) < 1.04), _DARK * 0.7)
    p.dab(0.5 * blob(np.abs(s), p.y, 1.0, my - 0.105 * t.smile, 0.08, 0.035), _DARK)
    p.dab(0.2 * blob(p.x, p.y, 0, my + t.lip_low + 0.05 + 0.85 * t.gape, half * 0.6, 0.03), _DARK)


def _eyes(c: Scene) -> None:
    """What lies between the lids: white, iris, pupil, glint."""
    t, p = c.t, c.patch(-c.t.eye_x - 0.36, -0.3, c.t.eye_x + 0.36, 0.25)
    s = (p.m - t.eye_x) * (1 / t.eye_w)
    top, low = lids(t, s)
    cover = p.cover(np.maximum(np.maximum(top - p.y, p.y - low), (np.abs(s) - 1) * t.eye_w))
    under = 0.5 + 0.5 * np.clip((p.y - top) / 0.07, 0, 1)  # the upper lid throws a shadow
    bright = under * min(0.2 + 0.75 * float(p.of(c.shade).mean()), 0.97)
    white = rgb(232, 226, 222) * (1 - 0.15 * s * s) - rgb(12, 80, 76) * blob(s, p.y, -1, 0, 0.3, 0.1)
    p.fill_pair(cover, white * bright, "eye")
    x, y = p.x - t.eye_x * p.side - t.gaze, p.y + 0.022
    radius = np.hypot(x, y)
    spokes = 0.25 * np.sin(11 * np.arctan2(y, x) + 3 * np.sin(radius * 60)) * (radius > 0.05)
    fibre = (1.0 + spokes + np.clip(5 * y, -0.3, 0.5)) * (1 - 0.65 * np.clip(radius * 36 - 2.8, 0, 1))
    iris = ramp(_IRISES, t.iris if t.tone < 0.45 else 0.2 * t.iris) * 1.25
    p.dab(cover * p.cover(radius - 0.105, 1.6), iris * fibre * (0.5 + 0.5 * under))
    p.dab(cover * p.cover(radius - 0.046, 1.3), rgb(8, 6, 6))
    p.dab(0.9 * cover * p.cover(np.hypot(x - 0.05 * t.light_x, y + 0.036) - 0.02), rgb(255, 255, 255))
    _lashes(c, p, s)


def _lashes(c: Scene, p: Patch, s: Floats) -> None:
    """Lid creases, lid margins and lashes: what makes an eye sharp."""
    t, (top, low) = c.t, lids(c.t, s)
    near, above, lash = np.exp(-((s / 1.15) ** 6)), top - p.y, np.minimum(c.locks * (0.6 - 0.3 * t.makeup), 0.2)
    p.dab(0.5 * t.makeup * bell(np.maximum(above, 0), 0.09) * near * (above > -0.02), any_of(c.rng, _LIDS))
    p.dab(0.45 * bell(above - t.crease - 0.03 * s * s, 0.017) * near, _DARK)
    thick = 0.004 + (0.014 + 0.016 * t.makeup) * (0.7 + 0.5 * np.clip(s, -1, 1))
    wing = 0.2 * t.makeup * np.clip(s - 0.9, 0, 0.25)
    rim = np.maximum(np.abs(above - wing) - thick, (np.abs(s - 0.04) - 1.02 - 0.1 * t.makeup) * t.eye_w)
    p.dab(0.9 * p.cover(rim, 1.3), lash)
    outer = np.clip(0.6 + 0.5 * s, 0.1, 1) * (np.abs(s) < 1.1)
    comb = np.clip(0.4 + 0.7 * np.sin((s + above * 2.2) * 24), 0, 1) * (above > 0)
    p.dab((0.35 + 0.5 * t.makeup) * outer * comb * np.clip(1 - above / (0.035 + 0.035 * t.makeup), 0, 1), lash)
    p.dab((0.4 + 0.3 * t.makeup) * outer * bell(p.y - low, 0.012), lash)
    p.dab((0.08 + 0.2 * t.age) * bell(p.y - low - 0.075 + 0.02 * s * s, 0.018) * near, _DARK)


def _brows(c: Scene) -> None:
    t, p = c.t, c.patch(-c.t.eye_x - 0.4, -0.55, c.t.eye_x + 0.4, -0.1)
    s = (p.m - t.eye_x - 0.02) * (1 / 0.30)
    middle, half = brow(t, s)
    up = p.y - middle
    strand = noise(s * 0.7 + up * 1.6 + 2 * p.side, up * 0.6 + s * 0.1 + 8 * t.arch)  # hairs rise outwards
    distance = np.maximum(np.abs(up) - half * (1 + 0.3 * strand), (np.abs(s) - 1.05) * 0.3)
    hair = np.minimum(c.locks * 0.72, 0.5) * (1 + 0.4 * strand) * np.clip(p.of(c.shade), 0.5, 1.1)
    dense = np.clip(0.8 + 0.4 * strand, 0.3, 0.95) * np.clip(0.72 + 0.5 * (s + 1), 0, 1)
    p.fill_pair(p.cover(distance, 2.5) * dense, hair, "brow")


def _strands(c: Scene, hair: Hair) -> tuple[Floats, Floats]:
    """Strand texture over the doubled pixels, and the distance along the strands, which run out from the parting."""
    (a, b), x, y = somewhere(c.rng), c.small[0] - c.t.parting, c.small[1] + c.t.skull + 0.25
    along = np.hypot(x, y)
    turn = np.arctan2(x, np.maximum(y, 0.02))
    turn += hair.curl * 0.14 * np.sin(6 * along + 3 * turn) / (0.4 + along)
    turn, along = double(np.stack([turn, along]))
    if hair.curl < 0.9:  # strands run apart, so far out there is room for finer ones
        fine = noise(turn * 3 + b, along * 0.15 + a) * np.clip(0.5 * along - 0.3, 0.2, 0.7)
        return noise(turn * 1.3 + a, along * 0.12 + b) + fine, along
    bend = 0.2 * noise(c.x * 0.3 + a, c.y * 0.3 + b)
    return noise(c.x * 0.6 + bend + b, c.y * 0.6 - bend + a), along


def _hair(c: Scene, hair: Hair, strand: Floats, along: Floats, *, behind: bool) -> None:
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
    distance = p.of(double(shape)) + hair.jagged * strand * np.clip(along - 0.15, 0, 1)
    # A bright ring round the head, darker towards the rims.
    ring = bell(along - 0.75 - 0.1 * strand, 0.24) * np.clip(1 + 0.7 * t.light_x * p.x, 0.2, 1.8)
    body = (0.95 + 0.5 * strand + 0.18 * t.light_x * p.x - 0.05 * p.y) * (0.6 + 0.4 * np.clip(distance * -5, 0, 1))
    body = np.clip(body + 0.5 * ring, 0.25, 1.7) * (0.75 if behind else 1)
    shine = (0.02 + 0.06 * t.gloss) * strand + (0.05 + 0.16 * t.gloss) * np.clip(0.6 + strand, 0, 2) * ring
    if not behind:
        p.dab(0.4 * np.exp(np.maximum(distance, 0) * (-1 / 0.07)) * (p.of(c.head) < 0.05), _DARK * 0.6)
    p.fill(p.cover(distance, 1.8), c.locks * c.tint * body + shine, "hair")


def _glasses(c: Scene) -> None:
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
    p.dab(inside * (0.9 if dark else 0.07), rgb(14, 14, 18) if dark else rgb(190, 210, 220))
    p.dab(inside * streak * bell(p.m + 0.9 * p.y - t.eye_x - 0.08, 0.07), rgb(230, 240, 255))
    sheen = 1 + 0.8 * bell(rho - 1 + 0.25 * thick, 0.06) * np.clip(-4 * p.y, 0, 1)
    p.fill(p.cover(frame), any_of(c.rng, _FRAMES) * sheen, "eye_g")


def _earrings(c: Scene) -> None:
    t, size = c.t, float(c.rng.uniform(0.05, 0.1))
    p = c.patch(-1.4, 0.25, 1.4, 1.0)
    x = p.x - (t.width + 0.02) * p.side + 0.24 * math.sin(t.yaw)
    y = p.y - 0.25 - t.ear - size
    radius = np.hypot(x, y)
    shape = np.abs(radius - size) - 0.022 if t.earrings == "hoop" else radius - size * (0.7 + 2 * y)
    shine = 0.6 - 0.7 * np.clip((y + 0.3 * x) / size, -1, 0.5) + 0.3 * np.sin(radius * 90)
    p.fill(p.cover(shape), any_of(c.rng, _METALS) * shine, "ear_r")


def _hat(c: Scene) -> None:
    t, p = c.t, c.patch(-2.2, -2.2, 2.2, 0.3)
    volume = 0.06 + max(t.hair.top if t.hair else 0, 0.1)
    up = np.minimum(p.y + 0.3, 0) / (t.skull + volume - 0.3)
    crown = (np.abs(p.x / (t.width + volume)) ** 2.4 + np.abs(up) ** 2.4) ** (1 / 2.4) - 1
    edge = 0.1 * p.x**2 - 0.72
    shape = np.maximum(crown, p.y - edge)
    fall = 0.85 + 0.3 * t.light_x * p.x - 0.25 * np.clip(crown + 0.35, 0, 1) + 0.08 * noise(p.x * 1.5, p.y * 1.5)
    if t.hat == "beanie":
        fall *= 1 + 0.16 * np.sin(34 * p.x / (0.6 + 0.4 * np.sqrt(np.maximum(1.2 - p.x**2, 0.1))))
        fall -= 0.25 * bell(p.y - edge + 0.42, 0.035)
    else:
        curve = np.maximum(1 - (p.x / 1.75) ** 2, 0)
        brim = np.maximum(np.abs(p.y - edge + 0.02 - 0.12 * curve) - 0.13 * np.sqrt(curve), p.m - 1.75)
        shape = np.minimum(shape, brim)
        fall += 0.15 * (brim < 0) - 0.4 * bell(p.y - edge + 0.16, 0.05)
    p.dab(0.5 * np.exp(np.maximum(shape, 0) * -10) * (p.y > edge - 0.1) * p.cover(p.of(c.head)), _DARK * 0.5)
    p.fill(p.cover(shape), any_of(c.rng, _CLOTHS) * np.clip(fall, 0.15, 1.3) * c.tint, "hat")
