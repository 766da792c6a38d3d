"""W&B without a warning of an option that nobody set, and without modules that nobody uses."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger


class QuietWandbLogger(WandbLogger):
    """Lightning's W&B logger, which always passes the deprecated option `anonymous`; this one leaves it out."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run."""
        self._wandb_init.pop("anonymous", None)
        with _without_launch():
            return super().experiment


def _without_launch() -> AbstractContextManager[Any]:
    """Returns a context in which a W&B run starts without importing W&B Launch, which takes a second.

    A run looks there for inputs that were staged for it. Only a program that has imported Launch can have staged any.
    """
    from wandb.sdk.wandb_run import Run

    looks = "_detect_and_apply_job_inputs"
    if "wandb.sdk.launch" in sys.modules or not hasattr(Run, looks):
        return nullcontext()
    return mock.patch.object(Run, looks, return_value=None)
