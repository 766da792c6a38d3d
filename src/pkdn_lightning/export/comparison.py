"""Each exported file against the original, on faces."""

import time
from collections.abc import Callable
from pathlib import Path
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
    """How an exported file compares with the original.

    Attributes:
        difference: The largest difference of a value; 1 is the distance from black to white.
        closeness_db: PSNR between the two results.
        psnr_y: PSNR of its results on the faces under the headline protocol, in dB.
        loss_db: How much less that is than the original's.
        ms: Milliseconds a face takes, in batches, on this machine with its present load.
    """

    difference: float
    closeness_db: float
    psnr_y: float
    loss_db: float
    ms: float


def check_faces(store: str | None, split: str, count: int, original: Restorer) -> tuple[Tensor, Tensor, str]:
    """Returns faces to check with: LR, HR, and where they come from, in words.

    Raises:
        DataError: If the store's faces do not fit the model.
    """
    if count < 1:
        raise DataError(f"faces={count}; at least one is needed to check with.")
    if store is None:
        hr = np.stack([draw_face(number, size_px=original.hr_px).hr for number in range(count)])
        source = f"{count} drawn faces (store=<store> takes real ones)"
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
    """Returns all faces restored, in batches."""
    return torch.cat([restorer(batch) for batch in torch.split(lr, _BATCH)])


def check(restorer: Restorer, lr: Tensor, hr: Tensor, original: Tensor) -> Check:
    """Returns how a file's results compare with the original's, (N, 3, H, W)."""
    restorer(lr[:_BATCH])  # the first call prepares
    begun = time.perf_counter()
    sr = restore(restorer, lr)
    ms = (time.perf_counter() - begun) * 1000 / len(lr)
    quality, best = psnr_y(sr, hr).mean().item(), psnr_y(original, hr).mean().item()
    return Check((sr - original).abs().max().item(), closeness_db(sr, original), quality, best - quality, ms)


def megabytes(file: Path) -> float:
    """Returns the size of a file."""
    return file.stat().st_size / 1e6
