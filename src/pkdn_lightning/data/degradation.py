"""The degradation from HR to LR; every part of the package uses this module for it.

The default follows DIC's protocol, as the compared methods do: antialiased bicubic downsampling of the 8-bit image,
rounded to 8 bits. `blind` and `blind2` add blur, noise and JPEG (see `data.blind`). Your own function takes its place
by its full name: `data.degradation=mymodule.blurred`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pkdn_lightning.data.blind import degrade_blind
from pkdn_lightning.data.strengths import ROUNDS, Strengths
from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.modes import MODES, Mode
from pkdn_lightning.functional.resize import bicubic, bicubic_8bit
from pkdn_lightning.trust import find, is_named_by_user, is_trusted


def degrade(hr: Tensor, scale: int, mode: str = "pil", drawn: Mapping[str, Tensor] | None = None) -> Tensor:
    """Returns LR: HR downsampled by antialiased bicubic, rounded to 8 bits, or degraded in another way.

    Args:
        hr: (B, 3, H, W), uint8, or float in [0, 1], which is rounded to 8 bits first.
        scale: Factor by which each side shrinks.
        mode: `pil` equals `Image.resize` of Pillow, `matlab` equals `imresize` of MATLAB. `blind` and `blind2` apply
            `drawn`. Otherwise the full name of a function of yours, which is called with `hr` (float in [0, 1]) and
            `scale` and returns LR. Its result has to depend on `hr` only, so that resumed trainings and evaluations see
            the same faces.
        drawn: What `data.blind.Blind` drew for these faces, on the device of `hr`; for `blind` and `blind2` only.

    Returns:
        (B, 3, H / scale, W / scale), values k/255; float32 for uint8 input, else the dtype of `hr`.

    Raises:
        ShapeError: If `scale` does not divide both sides, or your function returns another shape.
        ConfigError: If your function is not trusted (see `trust`) or cannot be found, or `drawn` is missing.

    Reference:
        Ma et al., "Deep Face Super-Resolution with Iterative Collaboration" (DIC), CVPR 2020, published code.

    Example:
        >>> import torch
        >>> degrade(torch.rand(1, 3, 128, 128), scale=8).shape
        torch.Size([1, 3, 16, 16])
    """
    height, width = hr.shape[-2:]
    if scale < 1 or height % scale or width % scale:
        raise ShapeError(
            f"Cannot degrade HR of {height}x{width} pixels by scale {scale}: both sides have to be divisible by "
            f"{scale}. Crop the images or choose another scale."
        )
    size = (height // scale, width // scale)
    if mode in ROUNDS:
        if drawn is None:
            raise ConfigError(
                f"The degradation '{mode}' is random: pass what was drawn for these faces, see data.blind."
            )
        return degrade_blind(hr, scale, ROUNDS[mode], drawn)
    if mode not in MODES:
        lr: Tensor = _own(mode)(hr / 255 if hr.dtype == torch.uint8 else hr, scale)
        if tuple(lr.shape) != (*hr.shape[:-2], *size):
            raise ShapeError(
                f"{mode} returned {tuple(lr.shape)} for {tuple(hr.shape)}; expected {(*hr.shape[:-2], *size)}."
            )
        return lr
    if hr.dtype == torch.uint8:
        return bicubic_8bit(hr, size, mode=_resampling(mode))
    return bicubic(hr, size, mode=_resampling(mode), round_8bit=True)


def describe(card: Mapping[str, Any]) -> str:
    """Returns in words how LR was made for a model with this card."""
    mode = card["degradation"]
    if mode in ROUNDS:
        values = ", ".join(f"{name} {value}" for name, value in asdict(Strengths.of(card.get("blind"))).items())
        return f"HR after blur, resampling, noise and JPEG (`{mode}`: {values})"
    return f"HR reduced by antialiased bicubic (`{mode}`), rounded to 8 bits" if mode in MODES else f"HR after `{mode}`"


def _resampling(mode: str) -> Mode:
    return "matlab" if mode == "matlab" else "pil"


@cache
def _own(name: str) -> Any:
    if not (is_named_by_user(name) or is_trusted(name)):
        raise ConfigError(
            f"The degradation '{name}' was not loaded: it is neither "
            f"{' nor '.join((*MODES, *ROUNDS))}, and a file names it.\n"
            f"Name it in a file of ./conf/data, or trust its module: PKDN_TRUSTED={name.partition('.')[0]} pkdn ..."
        )
    try:
        return find(name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"data.degradation={name} cannot be found: {error}.") from error


def enlarge(lr: Tensor, scale: int, mode: str = "pil") -> Tensor:
    """Returns LR upsampled by bicubic interpolation in 8 bits: the method called "bicubic" in the tables.

    Args:
        lr: (B, 3, h, w) float in [0, 1], rounded to 8 bits first.
        scale: Factor by which each side grows.
        mode: `pil` or `matlab`; anything else is `pil`.

    Returns:
        (B, 3, h * scale, w * scale), values k/255.

    Example:
        >>> import torch
        >>> enlarge(torch.rand(1, 3, 16, 16), scale=8).shape
        torch.Size([1, 3, 128, 128])
    """
    height, width = lr.shape[-2:]
    return bicubic(lr, (height * scale, width * scale), mode=_resampling(mode), round_8bit=True)
