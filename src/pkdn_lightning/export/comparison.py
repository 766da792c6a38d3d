"""Compares exported files with the original on faces."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.pixels import to_tensor
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.data.synthetic import draw_face
from pkdn_lightning.errors import DataError
from pkdn_lightning.export.quantize import closeness_db
from pkdn_lightning.metrics import psnr_y
from pkdn_lightning.models.runtimes import Restorer

_BATCH = 8


class Check(NamedTuple):
    """Comparison of an exported file with the original.

    Attributes:
        difference: Maximum absolute difference of the results, in [0, 1].
        closeness_db: PSNR between the results, in dB.
        psnr_y: PSNR of the exported file's results under the headline protocol, in dB.
        loss_db: The original's `psnr_y` minus this one, in dB.
        ms: Milliseconds per face in batches, on this machine at its current load.
    """

    difference: float
    closeness_db: float
    psnr_y: float
    loss_db: float
    ms: float


def check_faces(store: str | None, split: str, count: int, original: Restorer) -> tuple[Tensor, Tensor, str]:
    """Returns LR and HR faces for the comparison, and a description of their source.

    Raises:
        DataError: If `count` is below 1 or the store's faces do not fit the model.
    """
    if store is None:
        hr = np.stack([draw_face(number, size_px=original.hr_px).hr for number in range(count)])
        source = f"{count} drawn faces (for real ones: store=<store>)"
    else:
        opened = FaceStore.open(store)
        rows = opened.indices(split)[:count]
        if opened.size_px % original.scale:
            raise DataError(
                f"{store} holds faces of {opened.size_px} px, which scale {original.scale} does not divide."
            )
        hr, source = np.array(opened.hr[rows]), f"{len(rows)} faces of {opened.name}/{split}"
    faces = to_tensor(hr)
    return degrade(faces, original.scale, original.card["degradation"]), faces, source


def restore(restorer: Callable[[Tensor], Tensor], lr: Tensor) -> Tensor:
    """Returns the restored faces, computed in batches."""
    return torch.cat([restorer(batch) for batch in torch.split(lr, _BATCH)])


def check(restorer: Restorer, lr: Tensor, hr: Tensor, original: Tensor) -> Check:
    """Returns the comparison of a model's results with the original's, (N, 3, H, W)."""
    restorer(lr[:_BATCH])  # warm-up
    begun = time.perf_counter()
    sr = restore(restorer, lr)
    ms = (time.perf_counter() - begun) * 1000 / len(lr)
    quality, best = psnr_y(sr, hr).mean().item(), psnr_y(original, hr).mean().item()
    return Check((sr - original).abs().max().item(), closeness_db(sr, original), quality, best - quality, ms)
