"""Image grids of the same validation faces after each validation."""

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor

from pkdn_lightning.data.batches import Batch
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.grids import face_columns, save_grid
from pkdn_lightning.modules.base import eagerly
from pkdn_lightning.modules.student import StudentModule
from pkdn_lightning.train.tracking.trackers import show
from pkdn_lightning.values import Count


class SampleGrid(lightning.Callback):
    """Writes a grid of validation faces to `<run folder>/grids` and to every logger that takes images.

    Columns: LR, bicubic, the trained network, its teacher where it has one, HR, the parsing map, and the trained
    network's error.

    Args:
        folder: Where the images go.
        faces: Number of faces, from the start of the validation split.
    """

    def __init__(self, folder: str | Path, faces: Count = 6) -> None:
        self.folder, self.faces = Path(folder), faces

    @torch.no_grad()
    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draws the grid, except in sanity checks and trial runs."""
        if trainer.sanity_checking or trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]  # by a connector
            return
        datamodule: FaceSRDataModule = trainer.datamodule  # type: ignore[attr-defined]  # set by `trainer.fit`
        batch = datamodule.preview("val", self.faces)
        columns = face_columns(batch, self._restored(pl_module, batch), datamodule.scale)
        image = save_grid(columns, self.folder / f"step_{trainer.global_step:07d}.png")
        for logger in trainer.loggers:
            show(logger, "val/faces", image, trainer.global_step)

    def _restored(self, module: lightning.LightningModule, batch: Batch) -> dict[str, Tensor]:
        tensors: dict[str, Any] = dict(batch)
        on_device: Any = {name: tensor.to(module.device) for name, tensor in tensors.items()}
        restored: dict[str, Tensor] = {}
        if isinstance(module, StudentModule) and module.teacher is not None:
            with eagerly():
                restored["teacher"] = module.teacher(on_device).sr.cpu()
        own = "student" if isinstance(module, StudentModule) else "teacher"
        return {**restored, own: module(on_device).float().cpu().nan_to_num()}  # the error follows, with advice
