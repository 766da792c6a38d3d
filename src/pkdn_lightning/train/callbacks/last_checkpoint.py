"""The checkpoint to resume from, and the clean stop on Ctrl-C."""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from pkdn_lightning.errors import PKDNError
from pkdn_lightning.train.random_state import random_states, restore_random_states
from pkdn_lightning.values import NonNegative

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_KEY: Final = "resume"


class TrainingInterruptedError(PKDNError):
    """Training stopped on request; `last.ckpt` holds everything up to the last whole step."""


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` at intervals, with every new `best.ckpt`, at the end, and when asked to stop.

    It is written when a step is over (see `train.loops`) and holds, besides what Lightning restores, the states of the
    random generators, the last validation's metrics and early stopping's decision.

    The first Ctrl-C (or SIGTERM) completes the current step, writes the checkpoint and stops; a second Ctrl-C stops at
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
        self._restored: Mapping[str, Any] = {}
        self._handlers: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds what Lightning does not save."""
        checkpoint[_KEY] = {
            "trained_s": self.trained_s,
            "random": random_states(),
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items() if "val/" in name},
            "should_stop": trainer.should_stop,
            "length": _length(trainer),
        }

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps it until the training starts, and adapts paths to a run folder that was moved."""
        for best in trainer.checkpoint_callbacks:
            if isinstance(best, ModelCheckpoint) and (state := checkpoint["callbacks"].get(best.state_key)):
                checkpoint["callbacks"][best.state_key] = _moved(state, state["dirpath"], str(best.dirpath))
        self._restored = checkpoint.get(_KEY, {})
        self.trained_s = self._restored.get("trained_s", 0.0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Restores what Lightning does not, starts the clock and listens for signals."""
        if self._restored:
            self._restore(trainer)
        self._written = self._tick = time.monotonic()
        self._step = trainer.global_step
        if threading.current_thread() is threading.main_thread():  # the only one that receives signals
            self._handlers = {number: signal.signal(number, self._ask_to_stop) for number in _SIGNALS}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures and logs the training time."""
        now = time.monotonic()
        self.trained_s += now - self._tick
        self._tick = now
        if trainer.global_step == self._step:
            return  # gradients are being accumulated
        self._step = trainer.global_step
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]  # set by a connector
            pl_module.log("train/wall_s", self.trained_s)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Excludes validation from the training time."""
        self._tick = time.monotonic()

    def on_step_end(self, trainer: lightning.Trainer, *, is_last: bool) -> None:
        """Writes the checkpoint when it is due, and stops on request; called by `train.loops.StepLoop`."""
        stop = trainer.strategy.reduce_boolean_decision(self._stop_asked, all=False)  # as one process of several was
        late = trainer.strategy.reduce_boolean_decision(time.monotonic() - self._written > self.every_s, all=False)
        if stop or late or is_last or _best_is_new(trainer):
            self._write(trainer)
        if stop:
            raise TrainingInterruptedError(f"Stopped after step {trainer.global_step}, saved {self.path}.")

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Restores the signal handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop_asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._stop_asked = True

    def _restore(self, trainer: lightning.Trainer) -> None:
        restore_random_states(self._restored["random"])
        metrics = {name: torch.tensor(value, dtype=torch.float64) for name, value in self._restored["metrics"].items()}
        trainer._logger_connector._callback_metrics.update(metrics)  # Lightning has no other way to set them
        if self._restored["length"] == _length(trainer):
            trainer.should_stop = self._restored["should_stop"]
            return
        for callback in trainer.early_stopping_callbacks:  # a run that is made longer waits anew
            callback.wait_count = 0

    def _write(self, trainer: lightning.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by a connector
            return
        for logger in trainer.loggers:
            logger.save()  # rows from before the checkpoint must survive a kill
        trainer.save_checkpoint(self.path)
        self._written = time.monotonic()


def _length(trainer: lightning.Trainer) -> list[Any]:
    return [trainer.max_steps, trainer.max_epochs]


def _best_is_new(trainer: lightning.Trainer) -> bool:
    """Returns whether this step's validation was the best: `best.ckpt` and `last.ckpt` then belong together."""
    best = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    return any(each._last_global_step_saved == trainer.global_step for each in best)


def _moved(value: Any, old: str, new: str) -> Any:
    """Returns the state of a callback with paths below one folder replaced by those below another."""
    if isinstance(value, dict):
        return {_moved(key, old, new): _moved(each, old, new) for key, each in value.items()}
    return new + value.removeprefix(old) if isinstance(value, str) and value.startswith(old) else value
