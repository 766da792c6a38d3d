"""What makes one face differ from another: every trait, how it is sampled, and the hair styles."""

from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

import numpy as np


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

    # Pose in radians, framing in fractions of the image.
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
