"""How fast a training runs, told while it runs."""

import sys
import time
from typing import Any

import lightning.pytorch as lightning
import torch


class Throughput(lightning.Callback):
    """Logs `speed/faces_per_s`, `speed/data_wait_share` and `speed/memory_mb` whenever the trainer logs.

    Nothing waits for the accelerator: times are the host's, over all steps since the last logging, at which the loss
    was read anyway. The share is the host's time for gathering, moving and finishing batches; where an accelerator is
    the slower one it computes meanwhile, so that its own waiting is at most this. Validation counts for nothing.
    Faces are those of all processes; memory is this process's peak, on an accelerator what PyTorch has allocated.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._left = 0.0
        self._faces = 0
        self._waited_s = self._elapsed_s = 0.0

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Ends the wait for a batch."""
        now = time.perf_counter()
        if self._begun is not None:  # not the first step, nor the first after a validation
            self._waited_s += now - self._left
            self._elapsed_s += now - self._left
        self._begun = now

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ends a step, and logs where it is due."""
        assert self._begun is not None
        self._left = time.perf_counter()
        self._elapsed_s += self._left - self._begun
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
        self._begun = None


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB elsewhere
