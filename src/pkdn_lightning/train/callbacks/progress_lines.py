"""The progress of a training as lines of text, for an output that is not a terminal."""

import time
from collections.abc import Mapping
from typing import Any, Final

import lightning.pytorch as lightning
from torch import Tensor

from pkdn_lightning.console import console

_FIRST_S, _LONGEST_S = 5.0, 60.0
_GROWTH: Final = 2.0


class ProgressLines(lightning.Callback):
    """Prints step, loss, last validation and remaining time: first after 5 s, then less and less often.

    Args:
        run: Name of the run, printed before each line; for runs that share the output.
    """

    def __init__(self, run: str = "") -> None:
        self._run = run
        self._wait_s = _FIRST_S
        self._begun = self._printed = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock."""
        self._begun = self._printed = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prints a line if it is time."""
        now, step = time.monotonic(), trainer.global_step
        if now - self._printed < self._wait_s or step == self._first_step:
            return
        self._printed, self._wait_s = now, min(_LONGEST_S, self._wait_s * _GROWTH)
        total = total_steps(trainer)
        name = f"{self._run}: step" if self._run else "Step"
        parts = [f"{name} {step:,}" if total is None else f"{name} {step:,} of {total:,}", *values(trainer, outputs)]
        if total is not None:
            parts.append(f"{duration((now - self._begun) / (step - self._first_step) * (total - step))} left")
        console.print(", ".join(parts))


def total_steps(trainer: lightning.Trainer) -> int | None:
    """Returns the length of a training in steps; None if it is not known, as with `max_time`."""
    total = trainer.estimated_stepping_batches
    return None if total == float("inf") else int(total)


def values(trainer: lightning.Trainer, outputs: Mapping[str, Tensor] | None) -> list[str]:
    """Returns the loss and the PSNR of the last validation as text; neither if there is none yet.

    Args:
        trainer: The trainer.
        outputs: What the step returned. On an accelerator its loss is not read, because the host would wait for it,
            and the last logged one is shown, which is on the host.
    """
    loss = trainer.progress_bar_metrics.get("loss")
    own = (outputs or {}).get("loss")
    if own is not None and own.device.type == "cpu":
        loss = float(own) * trainer.accumulate_grad_batches  # Lightning has divided it
    psnr = trainer.callback_metrics.get("val/psnr_y")
    shown = [f"loss {float(loss):.3g}"] if loss is not None else []
    return shown if psnr is None else [*shown, f"val {float(psnr):.2f} dB"]


def duration(seconds: float) -> str:
    """Returns a duration as `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
