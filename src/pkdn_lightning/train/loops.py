"""Lightning's training loops, changed so that a checkpoint can be taken when a step is over, and resumes exactly there.

Lightning's own checkpoints are taken inside a step: before its validation, before its row is logged, or before early
stopping has seen its result. What follows in the step is then guessed on resuming, or left out.
"""

from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from pkdn_lightning.train.callbacks import LastCheckpoint


class StepLoop(_TrainingEpochLoop):
    """An epoch that calls `LastCheckpoint.on_step_end` after each step of the optimiser.

    At that time the step's validation is over, its values are logged, `best.ckpt` is written and early stopping has
    decided. A loop restored from such a checkpoint begins with the next step.
    """

    @property
    def _is_validation_done(self) -> bool:
        return True

    @property
    def _is_last_step(self) -> bool:
        """Whether the training ends with the step that was just taken."""
        last_epoch = self.trainer.current_epoch + 1 == self.trainer.max_epochs
        at_end = self.global_step == self.max_steps or (self._is_training_done and last_epoch)
        return bool(self.trainer.should_stop or at_end)

    def run(self, data_fetcher: Any) -> None:
        """Runs the rest of the epoch, which may be nothing."""
        super().run(data_fetcher)
        self.restarting = False
        self.reset_restart_stage()

    def advance(self, data_fetcher: Any) -> None:
        """Takes one batch, without making up for a validation of the step before it."""
        self.restarting = False
        super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Validates if it is time, and tells that the step is over."""
        super().on_advance_end(data_fetcher)
        if self._should_accumulate():
            return  # a checkpoint would lose the gradients
        for callback in self.trainer.callbacks:
            if isinstance(callback, LastCheckpoint):
                callback.on_step_end(self.trainer, is_last=self._is_last_step)


class ResumedFitLoop(_FitLoop):
    """Epochs that also pass through their end if the run is resumed from the checkpoint of its last step."""

    @property
    def done(self) -> bool:
        """Whether the training is over."""
        return not self.restarting and super().done

    def reset(self) -> None:
        """Prepares the loops, and has the data begin where the restored run stopped."""
        super().reset()
        if self.restarting and self._data_fetcher is not None:
            # A schedule asks for the number of batches before the progress is restored; loader processes would have
            # begun with the first batch then.
            iter(self._data_fetcher)


def use_resumable_loops(trainer: lightning.Trainer) -> None:
    """Replaces the training loops of a trainer that has not run yet."""
    epochs, steps = trainer.fit_loop, trainer.fit_loop.epoch_loop
    trainer.fit_loop = ResumedFitLoop(trainer, epochs.min_epochs, epochs.max_epochs)
    trainer.fit_loop.epoch_loop = StepLoop(trainer, steps.min_steps, steps.max_steps)
