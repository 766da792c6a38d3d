"""PSNR and SSIM: per image (`functional`) and averaged over a dataset (`collection`)."""

from typing import TYPE_CHECKING

from pkdn_lightning.metrics.functional import (
    HEADLINE,
    PROTOCOLS,
    Protocol,
    Quality,
    psnr,
    psnr_y,
    quality,
    ssim,
    ssim_y,
)

if TYPE_CHECKING:
    from pkdn_lightning.metrics.collection import MeanOverImages, face_sr_metrics

__all__ = [
    "HEADLINE",
    "PROTOCOLS",
    "MeanOverImages",
    "Protocol",
    "Quality",
    "face_sr_metrics",
    "psnr",
    "psnr_y",
    "quality",
    "ssim",
    "ssim_y",
]


def __getattr__(name: str) -> object:
    # Imported on first use: torchmetrics takes seconds to import, and evaluation does without.
    if name in ("MeanOverImages", "face_sr_metrics"):
        from pkdn_lightning.metrics import collection

        return getattr(collection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
