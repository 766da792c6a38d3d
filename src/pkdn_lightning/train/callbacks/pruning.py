"""Successive halving among the jobs of a sweep: who is behind at a rung does not climb further."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as lightning

from pkdn_lightning.errors import ConfigError, PKDNError
from pkdn_lightning.files import write_json

RUNGS: Final = "rungs.json"
"""The file in a run folder that says what was reached at which rung; it is all that jobs know of each other."""


class TrainingPrunedError(PKDNError):
    """Training stopped because other jobs of the sweep were better at the same point.

    Attributes:
        step: Where it stopped.
        score: What it had reached.
    """

    def __init__(self, message: str, step: int, score: float) -> None:
        super().__init__(message)
        self.step, self.score = step, score


class SuccessiveHalving(lightning.Callback):
    """Stops a job that is not among the best of its sweep when it passes a rung.

    The asynchronous rule (ASHA, Li et al. 2020, https://arxiv.org/abs/1810.05934): a job is compared with those that
    have passed the rung before it, so none waits for another, and the first ones go on whatever they reached. The run
    folders beside this one are the other jobs; that works for jobs in one process, on one machine and on many.

    Args:
        folder: The run folder.
        rungs: Shares of the training after which jobs are compared, at the validation that follows.
        reduction: One in so many goes on.
        monitor: What is compared; higher is better.
    """

    def __init__(
        self,
        folder: str | Path,
        rungs: Sequence[float] = (0.11, 0.33),
        reduction: int = 3,
        monitor: str = "val/psnr_y",
    ) -> None:
        if not all(0 < rung < 1 for rung in rungs) or reduction < 2:
            raise ConfigError(
                f"callbacks.pruning: rungs={list(rungs)} are shares of the training between 0 and 1, and "
                f"reduction={reduction} is 2 or more."
            )
        self.folder, self.rungs, self.reduction, self.monitor = Path(folder), sorted(rungs), reduction, monitor

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Compares this job at the rungs that it has passed since the last validation."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        score = float(trainer.callback_metrics[self.monitor])
        reached = _read(self.folder)
        passed = [rung for rung in self.rungs if trainer.global_step >= rung * trainer.estimated_stepping_batches]
        new = [rung for rung in passed if str(rung) not in reached]
        if not new:
            return
        write_json(self.folder / RUNGS, reached | {str(rung): score for rung in new})
        for rung in new:
            others = self._others(rung)
            better = sum(other > score for other in others)
            go_on = (len(others) + 1) // self.reduction
            if go_on and better >= go_on:
                raise TrainingPrunedError(
                    f"Pruned after step {trainer.global_step}: {self.monitor} {score:.4g}, and {better} of "
                    f"{len(others)} other jobs had more there; one in {self.reduction} goes on.",
                    trainer.global_step,
                    score,
                )

    def _others(self, rung: float) -> list[float]:
        """Returns what the other jobs had reached at a rung."""
        folders = (file.parent for file in self.folder.parent.glob(f"*/{RUNGS}"))
        scores = [_read(folder).get(str(rung)) for folder in folders if folder.name != self.folder.name]
        return [score for score in scores if score is not None]


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / RUNGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
