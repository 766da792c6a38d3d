"""PSNR and SSIM: per image (`functional`) and averaged over a dataset (`collection`)."""

from pkdn_lightning.metrics.collection import MeanOverImages, face_sr_metrics
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
