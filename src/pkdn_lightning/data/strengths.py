"""Strengths of the blind degradations; apart from `data.blind`, so that a configuration is read without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Final, Self, get_type_hints

from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.values import Interval, Odd, Share, check

ROUNDS: Final = {"blind": 1, "blind2": 2}
"""The blind degradations with their numbers of rounds."""

_Sigma = Annotated[list[float], Interval(0.01, 4)]
_Length = Annotated[list[float], Interval(0, 8)]
_Levels = Annotated[list[float], Interval(0, 128)]
_Quality = Annotated[list[int], Interval(1, 100)]


@dataclass
class Strengths:
    """Probabilities and ranges of the blind degradations; each face draws its own values, uniformly.

    Lengths of blur are in LR pixels, so that they mean the same at every scale: 0.5 are 4 HR pixels at x8.

    Attributes:
        blur_probability: Probability of blur.
        sigma: Standard deviation of Gaussian blur, in LR pixels.
        anisotropic: Share of blurs that are Gaussians with two standard deviations, rotated at random.
        motion: Share of blurs that are motion along a line.
        motion_length: Length of that line, in LR pixels.
        kernel_px: Side of the blur's kernel, in pixels.
        resampling_probability: Probability that the size is reduced by bilinear or area instead of bicubic resampling.
        noise_probability: Probability of noise.
        noise: Standard deviation of noise, in grey levels of 255; of Poisson noise, that at white.
        poisson: Share of noise that is Poisson: its variance is proportional to the brightness.
        grey: Share of noise that is the same in all channels.
        jpeg_probability: Probability of JPEG compression.
        jpeg_quality: Quality of JPEG compression, as in libjpeg.
    """

    blur_probability: Share = 0.8
    sigma: _Sigma = field(default_factory=lambda: [0.1, 0.6])
    anisotropic: Share = 0.4
    motion: Share = 0.2
    motion_length: _Length = field(default_factory=lambda: [0.5, 1.5])
    kernel_px: Annotated[int, Odd(1, 255)] = 21
    resampling_probability: Share = 0.6
    noise_probability: Share = 0.6
    noise: _Levels = field(default_factory=lambda: [1.0, 10.0])
    poisson: Share = 0.4
    grey: Share = 0.4
    jpeg_probability: Share = 0.7
    jpeg_quality: _Quality = field(default_factory=lambda: [40, 95])

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            check(f"data.blind.{name}", getattr(self, name), hint)
        if self.anisotropic + self.motion > 1:
            raise ConfigError(
                f"data.blind.anisotropic={self.anisotropic} and data.blind.motion={self.motion} are shares of all "
                "blurs: expected a sum of 1 or less; the rest are isotropic."
            )

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Self:
        """Returns the strengths of a mapping, which may leave some out.

        Raises:
            ConfigError: If a name is unknown, or a value out of range.
        """
        known = [each.name for each in fields(cls)]
        for name in values or ():
            if name not in known:
                raise ConfigError(
                    f"data.blind.{name} is no strength.{did_you_mean(name, known)} There are: {', '.join(known)}"
                )
        return cls(**(values or {}))
