"""Blind degradation: blur, random resampling, noise and JPEG, for networks that are to restore photographs.

A round blurs the face (isotropic or anisotropic Gaussian, or motion), reduces its size (bicubic, bilinear or area),
adds Gaussian or Poisson noise, rounds to 8 bits and compresses by JPEG. `blind` is one round. `blind2` is two, as in
Real-ESRGAN: the first ends at twice the LR size, the second at the LR size. Left out of Real-ESRGAN are sinc filters,
generalised Gaussian kernels, and enlargement and random sizes between the rounds.

The batch sampler draws all random numbers, those of the noise included, and they travel with the batch: in training
from the seed and the number of the batch, in evaluation from the face's row. The device draws none, and the host does
not wait for it. Poisson noise is approximated by normal noise of its variance. What is drawn is the same on every
device; a blurred grey level between two whole ones may be rounded differently on another.

Reference:
    Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pkdn_lightning.data.strengths import ROUNDS, Strengths
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.functional.jpeg import jpeg
from pkdn_lightning.functional.resize import bicubic_8bit

_BICUBIC, _BILINEAR, _AREA = 0, 1, 2
_FIXED_SEED: Final = 20240914  # of evaluation: not a training's seed, so that results of all runs compare


def factors(scale: int, rounds: int) -> tuple[int, ...]:
    """Returns by how much each round reduces the size."""
    return (scale,) if rounds == 1 else (scale // 2, 2) if scale % 2 == 0 else (scale, 1)


@dataclass(frozen=True)
class Blind:
    """Draws the parameters of the degradation of faces.

    Attributes:
        strengths: Probabilities and ranges.
        rounds: Number of rounds, 1 or 2.
        scale: Factor from LR to HR.
        size_px: Side of HR.
    """

    strengths: Strengths
    rounds: int
    scale: int
    size_px: int

    def draw(self, faces: int, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        """Returns random parameters by name, for each round n = 0, 1 and the side S that it ends at.

        blur_n     kernels, (faces, kernel_px, kernel_px), which sum to 1
        noise_n    standard normal noise, (faces, 3, S, S)
        effects_n  resampling, standard deviations of Gaussian and Poisson noise, JPEG quality, (faces, 4); 0 is none
        """
        return {name: array for each in self._rounds(faces, generator) for name, array in each.items()}

    def draw_fixed(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Returns the parameters for the evaluation of some rows of a store; those of a row are always the same."""
        drawn = [self.draw(1, np.random.default_rng([_FIXED_SEED, int(row)])) for row in rows]
        return {name: np.concatenate([each[name] for each in drawn]) for name in drawn[0]}

    def _rounds(self, faces: int, generator: np.random.Generator) -> Iterator[dict[str, NDArray[np.float32]]]:
        side = self.size_px
        for number, factor in enumerate(factors(self.scale, self.rounds)):
            lr_pixel, side = side * self.scale / self.size_px, side // factor
            yield {
                f"blur_{number}": _kernels(self.strengths, faces, lr_pixel, generator),
                f"noise_{number}": _noise(self.strengths, faces, side, generator),
                f"effects_{number}": _effects(self.strengths, faces, generator),
            }


def make_blind(degradation: str, values: Mapping[str, Any] | None, scale: int, size_px: int) -> Blind | None:
    """Returns what draws the parameters of a degradation; None if it has none.

    Args:
        degradation: Its name.
        values: Arguments of `Strengths`, which may leave some out.
        scale: Factor from LR to HR.
        size_px: Side of HR.

    Raises:
        ConfigError: If a value is unknown or out of range, or the kernel is larger than a picture that it is to blur.
    """
    if degradation not in ROUNDS:
        return None
    strengths = Strengths.of(values)
    blind = Blind(strengths, ROUNDS[degradation], scale, size_px)
    smallest = size_px // factors(scale, blind.rounds)[0] if blind.rounds > 1 else size_px
    if strengths.kernel_px > smallest:
        raise ConfigError(
            f"data.blind.kernel_px={strengths.kernel_px} is larger than the picture of {smallest} px that "
            f"degradation={degradation} blurs. Choose an odd number below: data.blind.kernel_px={(smallest - 1) | 1}"
        )
    return blind


def _kernels(strengths: Strengths, faces: int, lr_pixel: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Returns blur kernels for pictures of which `lr_pixel` pixels make one of LR."""
    kind, blurred = generator.random((2, faces, 1, 1))
    sigmas = _between(strengths.sigma, generator.random((2, faces, 1, 1))) * lr_pixel
    length = _between(strengths.motion_length, generator.random((faces, 1, 1))) * lr_pixel
    angle = generator.uniform(0, np.pi, (faces, 1, 1))
    reach = strengths.kernel_px // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    second = np.where(kind < strengths.anisotropic, sigmas[1], sigmas[0])
    gaussian = np.exp(-((along / sigmas[0]) ** 2 + (across / second) ** 2) / 2)
    line = np.clip((length + 1) / 2 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1)
    kernels = np.where(kind >= 1 - strengths.motion, line, gaussian)
    kernels = np.where(blurred < strengths.blur_probability, kernels, (x == 0) & (y == 0))
    return (kernels / kernels.sum((1, 2), keepdims=True)).astype(np.float32)


def _noise(strengths: Strengths, faces: int, side: int, generator: np.random.Generator) -> NDArray[np.float32]:
    grey = generator.random((faces, 1, 1, 1)) < strengths.grey
    noise = generator.standard_normal((faces, 3, side, side), dtype=np.float32)
    return np.where(grey, noise[:, :1], noise)


def _effects(strengths: Strengths, faces: int, generator: np.random.Generator) -> NDArray[np.float32]:
    resampled, noisy, poisson, compressed = generator.random((4, faces))
    resampling = np.where(resampled < strengths.resampling_probability, generator.integers(1, 3, faces), _BICUBIC)
    sigma = np.where(noisy < strengths.noise_probability, _between(strengths.noise, generator.random(faces)), 0)
    is_poisson = poisson < strengths.poisson
    least, most = strengths.jpeg_quality
    quality = np.where(compressed < strengths.jpeg_probability, generator.integers(least, most + 1, faces), 0)
    columns = [resampling, np.where(is_poisson, 0, sigma), np.where(is_poisson, sigma, 0), quality]
    return np.stack(columns, axis=1).astype(np.float32)


def _between(interval: list[float], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns uniform random numbers of an interval from those of [0, 1)."""
    least, most = interval
    return least + (most - least) * drawn


def degrade_blind(hr: Tensor, scale: int, rounds: int, drawn: Mapping[str, Tensor]) -> Tensor:
    """Returns LR with the drawn degradation.

    Args:
        hr: (B, 3, H, W), uint8, or float in [0, 1], which is rounded to 8 bits first.
        scale: Factor by which each side shrinks.
        rounds: Number of rounds.
        drawn: See `Blind.draw`; further keys are ignored.

    Returns:
        (B, 3, H / scale, W / scale), values k/255; float32 for uint8 input, else the dtype of `hr`.
    """
    levels = hr if hr.dtype == torch.uint8 else _rounded(hr * 255)
    with torch.autocast(hr.device.type, enabled=False):
        for number, factor in enumerate(factors(scale, rounds)):
            parts = (drawn[f"{name}_{number}"] for name in ("blur", "noise", "effects"))
            levels = _round(levels, factor, *parts)
    lr = levels.float() / 255
    return lr if hr.dtype == torch.uint8 else lr.to(hr.dtype)


def _round(levels: Tensor, factor: int, kernels: Tensor, noise: Tensor, effects: Tensor) -> Tensor:
    """Returns 8-bit pictures after one round; its parameters are described in `Blind.draw`."""
    from kornia.filters import filter2d  # takes a second to import; few runs need it

    resampling, gaussian, poisson, quality = (each.view(-1, 1, 1, 1) for each in effects.unbind(1))
    blurred = filter2d(levels.float(), kernels, "reflect")
    size = (levels.shape[-2] // factor, levels.shape[-1] // factor)
    bilinear = F.interpolate(blurred, size, mode="bilinear", antialias=True)
    other = torch.where(resampling == _BILINEAR, bilinear, F.avg_pool2d(blurred, factor))
    small = torch.where(resampling == _BICUBIC, bicubic_8bit(_rounded(blurred), size) * 255, other)
    noisy = small + noise * (gaussian.square() + poisson.square() * small / 255).clamp(min=0).sqrt()
    rounded = noisy.round().clamp(0, 255)
    return _rounded(torch.where(quality > 0, jpeg(rounded, quality.flatten().clamp(min=1)), rounded))


def _rounded(levels: Tensor) -> Tensor:
    return levels.round().clamp(0, 255).to(torch.uint8)
