"""W&B without a warning of an option that nobody set."""

from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger


class QuietWandbLogger(WandbLogger):
    """Lightning's W&B logger, which always passes the deprecated option `anonymous`; this one leaves it out."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run."""
        self._wandb_init.pop("anonymous", None)
        return super().experiment
