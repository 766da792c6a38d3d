"""Compares exported files with the original on faces."""

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pkdn_lightning.data.blind import make_blind
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.pixels import to_tensor
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import FaceStore
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


class Faces(NamedTuple):
    """The faces of an export.

    Attributes:
        lr: (N, 3, h, w) faces for the comparison, in [0, 1].
        hr: (N, 3, H, W) the same faces in HR.
        calibration: (M, 3, h, w) LR faces for the calibration of 8 bits.
        calibration_hr: (M, 3, H, W) the same faces in HR.
        source: A description of `lr`.
        calibration_source: A description of `calibration`.
    """

    lr: Tensor
    hr: Tensor
    calibration: Tensor
    calibration_hr: Tensor
    source: str
    calibration_source: str


def check_faces(store: str | None, split: str, count: int, original: Restorer) -> Faces:
    """Returns the faces for the comparison and the calibration.

    Args:
        store: The store; None takes the included portraits, whose training split is for the calibration.
        split: Part of the store.
        count: Number of faces, at most.
        original: The model, which determines size, scale and degradation.

    Raises:
        DataError: If `count` is below 1 or the store's faces do not fit the model.
    """

    def degraded(faces: Tensor) -> Tensor:
        mode, scale = original.card["degradation"], original.scale
        blind = make_blind(mode, original.card.get("blind"), scale, faces.shape[-1])
        fixed = blind.draw_fixed(np.arange(len(faces))) if blind else {}
        return degrade(faces, scale, mode, {name: torch.from_numpy(array) for name, array in fixed.items()})

    if store is None:
        test, train = (
            to_tensor(np.stack([face.hr for face in portraits(each, count, original.hr_px)]))
            for each in ("test", "train")
        )
        source = f"{len(test)} portraits of the included test split (for others: store=<store>)"
        return Faces(degraded(test), test, degraded(train), train, source, "portraits of the included training split")
    opened = FaceStore.open(store)
    rows = opened.indices(split)[:count]
    if opened.size_px % original.scale:
        raise DataError(f"{store} holds faces of {opened.size_px} px, which scale {original.scale} does not divide.")
    hr = to_tensor(np.array(opened.hr[rows]))
    lr = degraded(hr)
    return Faces(lr, hr, lr, hr, f"{len(rows)} faces of {opened.name}/{split}", "of these faces")


def restore(restorer: Restorer, lr: Tensor) -> Tensor:
    """Returns the restored faces, computed in batches."""
    return torch.from_numpy(np.concatenate([restorer(batch.numpy()) for batch in torch.split(lr, _BATCH)]))


def check(restorer: Restorer, lr: Tensor, hr: Tensor, original: Tensor) -> Check:
    """Returns the comparison of a model's results with the original's, (N, 3, H, W)."""
    restore(restorer, lr[:_BATCH])  # warm-up
    begun = time.perf_counter()
    sr = restore(restorer, lr)
    ms = (time.perf_counter() - begun) * 1000 / len(lr)
    quality, best = psnr_y(sr, hr).mean().item(), psnr_y(original, hr).mean().item()
    return Check((sr - original).abs().max().item(), closeness_db(sr, original), quality, best - quality, ms)
