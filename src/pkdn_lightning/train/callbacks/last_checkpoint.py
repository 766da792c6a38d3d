"""The checkpoint to resume from, and the clean stop on Ctrl-C."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import Checkpoint

from pkdn_lightning.errors import PKDNError
from pkdn_lightning.values import NonNegative

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterruptedError(PKDNError):
    """Training stopped on request; `last.ckpt` holds everything up to the last whole step."""


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` at intervals, at the end of the training, and when asked to stop.

    The first Ctrl-C (or SIGTERM) completes the current step, writes the checkpoint and stops; a second one stops at
    once.

    Args:
        path: The checkpoint file.
        every_n_minutes: Longest time between two writes.
    """

    def __init__(self, path: str | Path, every_n_minutes: NonNegative = 5.0) -> None:
        self.path = Path(path)
        self.every_s = every_n_minutes * 60
        self.trained_s = 0.0
        """Seconds of training so far, over all sessions."""
        self._written = self._tick = time.monotonic()
        self._step = 0
        self._stop_asked = False
        self._handlers: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def state_dict(self) -> dict[str, Any]:
        """Keeps the training time in the checkpoint."""
        return {"trained_s": self.trained_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues from the time in the checkpoint."""
        self.trained_s = state_dict["trained_s"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Starts the clock and listens for signals."""
        self._written = self._tick = time.monotonic()
        self._step = trainer.global_step
        if threading.current_thread() is threading.main_thread():  # the only one that receives signals
            self._handlers = {number: signal.signal(number, self._ask_to_stop) for number in _SIGNALS}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes the checkpoint when it is due, and stops on request."""
        now = time.monotonic()
        self.trained_s += now - self._tick
        self._tick = now
        if trainer.global_step == self._step:
            return  # gradients are being accumulated; a checkpoint would lose them
        self._step = trainer.global_step
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            pl_module.log("train/wall_s", self.trained_s)
        ended = trainer.global_step == trainer.max_steps
        if self._stop_asked or ended or now - self._written > self.every_s:
            self._write(trainer)
        if self._stop_asked:
            raise TrainingInterruptedError(f"Stopped after step {trainer.global_step}, saved {self.path}.")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Excludes validation from the training time."""
        self._tick = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes the checkpoint if this was the last epoch."""
        if trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs:
            self._write(trainer)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Restores the signal handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop_asked = True

    def _write(self, trainer: lightning.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by a connector
            return
        for logger in trainer.loggers:
            logger.save()  # rows from before the checkpoint must survive a kill
        trainer.save_checkpoint(self.path)
        self._written = time.monotonic()
