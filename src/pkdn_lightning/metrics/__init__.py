"""How good a restored face is: `functional` measures one image, `collection` averages over all of them."""

from pkdn_lightning.metrics.collection import MeanOverImages, face_sr_metrics
from pkdn_lightning.metrics.functional import HEADLINE, PROTOCOLS, Protocol, psnr, psnr_y, ssim, ssim_y

__all__ = [
    "HEADLINE",
    "PROTOCOLS",
    "MeanOverImages",
    "Protocol",
    "face_sr_metrics",
    "psnr",
    "psnr_y",
    "ssim",
    "ssim_y",
]
