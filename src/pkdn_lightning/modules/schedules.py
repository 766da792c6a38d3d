"""Learning-rate schedules of published recipes that torch lacks; they step with the optimiser."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class ConstantThenLinear(LambdaLR):
    """The full rate for a share of the training, then linearly to 0 (SPARNet).

    Args:
        optimizer: The optimiser.
        total_steps: Length of the training.
        constant: Share of it with the full rate.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, constant: float = 0.5) -> None:
        begin = int(total_steps * constant)
        super().__init__(optimizer, lambda step: min(1.0, max(0.0, (total_steps - step) / max(1, total_steps - begin))))


class GentleStartThenDecay(LambdaLR):
    """A fiftieth of the rate for 10 steps, a fifth for 20 more, and a factor after each epoch (UR-DGN).

    Args:
        optimizer: The optimiser.
        total_steps: Length of the training.
        epochs: Epochs in it; where the length is given in steps, as many as the decay is to have.
        gamma: Factor after each epoch.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, epochs: int = 100, gamma: float = 0.99) -> None:
        per_epoch = max(1, total_steps // max(1, epochs))

        def factor(step: int) -> float:
            start = 1 / 50 if step < 10 else 1 / 5 if step < 30 else 1.0
            return start * float(gamma ** (step // per_epoch))

        super().__init__(optimizer, factor)
