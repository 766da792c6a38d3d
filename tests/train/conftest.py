"""What the tests of training share."""

import os
import signal

from pkdn_lightning.modules import SRModule


def stop_at(monkeypatch, step: int) -> None:
    """Sends this process SIGINT while the given step is trained."""
    original, asked = SRModule.training_step, []

    def training_step(self, batch, batch_idx):
        if self.global_step == step - 1 and not asked:  # a second signal would stop it at once
            asked.append(batch_idx)
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SRModule, "training_step", training_step)
