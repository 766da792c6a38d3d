"""The speed of a training."""

import sys
import time
from typing import Any

import lightning.pytorch as lightning
import torch


class Throughput(lightning.Callback):
    """Logs `speed/faces_per_s`, `speed/data_wait_share` and `speed/memory_mb` whenever the trainer logs.

    Times are the host's, over all steps since the last logging, so that nothing waits for the accelerator. The share
    is the host's time for gathering, moving and preparing batches, an upper bound of the accelerator's waiting.
    Validation is excluded. Faces are those of all processes; memory is the peak of this process, on an accelerator
    that of PyTorch's allocator.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._left = 0.0
        self._faces = 0
        self._waited_s = self._elapsed_s = 0.0

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Adds the time that the batch took."""
        now = time.perf_counter()
        if self._started is not None:  # neither the first step nor the first after a validation
            self._waited_s += now - self._left
            self._elapsed_s += now - self._left
        self._started = now

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the time of the step, and logs when it is due."""
        assert self._started is not None
        self._left = time.perf_counter()
        self._elapsed_s += self._left - self._started
        self._faces += len(batch["row"]) * trainer.world_size
        if (batch_idx + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # connector
            values = {
                "speed/faces_per_s": self._faces / self._elapsed_s,
                "speed/data_wait_share": self._waited_s / self._elapsed_s,
                "speed/memory_mb": _peak_mb(pl_module.device),
            }
            pl_module.log_dict({name: torch.tensor(value) for name, value in values.items()}, on_step=True)
            self._faces, self._waited_s, self._elapsed_s = 0, 0.0, 0.0

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Stops the clock."""
        self._started = None


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB elsewhere
