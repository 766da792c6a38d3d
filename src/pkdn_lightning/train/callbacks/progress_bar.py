"""The progress of a training on a terminal."""

import time
from typing import Any, Final

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from pkdn_lightning.console import console
from pkdn_lightning.train.callbacks.progress_lines import duration, total_steps, values

_REFRESH_S: Final = 0.5


class StepBar(ProgressBar):
    """Shows steps n of N, their rate, the time left, the loss and the last validation; the batches of a test."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._enabled, self._refreshed = True, 0.0

    def disable(self) -> None:
        """Shows nothing, in all processes of a training but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Shows the bar again."""
        self._enabled = True

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Shows the bar of the steps."""
        self._show("Step", trainer.global_step, total_steps(trainer))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar."""
        now = time.monotonic()
        if now - self._refreshed >= _REFRESH_S or trainer.global_step == total_steps(trainer):
            self._refreshed = now
            self._move(trainer.global_step, ", ".join(values(trainer, outputs)))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Leaves the bar as it is."""
        self._stop()

    def on_test_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Shows the bar of the test's batches."""
        batches = sum(trainer.num_test_batches)
        self._show("Test", 0, None if batches == float("inf") else int(batches))

    def on_test_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def on_test_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Leaves the bar as it is."""
        self._stop()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leaves the bar as it is, so that the message stands below it."""
        self._stop()

    def _show(self, what: str, done: int, total: int | None) -> None:
        if not self._enabled:
            return
        columns = (
            TextColumn(what),
            BarColumn(bar_width=None),
            _Count(Column(no_wrap=True)),
            _Time(Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        )
        self._bar = Progress(*columns, console=console, expand=True, refresh_per_second=2)
        self._bar.add_task(what, total=total, completed=done, note="")
        self._bar.start()

    def _move(self, done: int, note: str) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, note=note)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Count(ProgressColumn):
    """How much is done, and of how much if that is known."""

    def render(self, task: Task) -> Text:
        of_total = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{of_total}")


class _Time(ProgressColumn):
    """Rate and time left; at the end, the time it took."""

    def render(self, task: Task) -> Text:
        speed, seconds = task.finished_speed or task.speed, task.time_remaining
        rate = f"{speed:.3g}/s" if speed else "-/s"
        if task.finished:
            return Text(f"{rate}, took {duration(task.finished_time or 0)}")
        return Text(rate if seconds is None else f"{rate}, {duration(seconds)} left")
