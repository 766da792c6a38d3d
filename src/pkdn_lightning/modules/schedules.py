"""Learning-rate schedules that torch does not have; they step with the optimiser."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR


class OneCycle(OneCycleLR):
    """torch's `OneCycleLR` for trainings of any length: one too short for a warm-up of two steps has none.

    Args:
        optimizer: The optimiser.
        max_lr: Highest learning rate.
        total_steps: Length of the training, at least 1.
        pct_start: Fraction of the training until the highest rate.
        **kwargs: See `OneCycleLR`.
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: float, total_steps: int, pct_start: float = 0.3, **kwargs: Any
    ) -> None:
        # The warm-up ends at step `pct_start * total_steps - 1`; torch divides by that number.
        pct_start = pct_start if pct_start * total_steps > 1 else 0.0
        super().__init__(optimizer, max_lr, total_steps=total_steps, pct_start=pct_start, **kwargs)


class GentleStartThenDecay(LambdaLR):
    """Warmup at 1/50 of the rate for 10 steps and 1/5 for 20 more, with exponential decay per epoch (UR-DGN).

    Args:
        optimizer: The optimiser.
        total_steps: Length of the training.
        epochs: Number of decay steps over the training.
        gamma: Decay factor per epoch.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, epochs: int = 100, gamma: float = 0.99) -> None:
        per_epoch = max(1, total_steps // max(1, epochs))

        def factor(step: int) -> float:
            start = 1 / 50 if step < 10 else 1 / 5 if step < 30 else 1.0
            return start * float(gamma ** (step // per_epoch))

        super().__init__(optimizer, factor)
