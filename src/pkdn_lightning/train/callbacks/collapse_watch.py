"""Tells when a network restores as bicubic interpolation does, or far worse: from both it rarely recovers."""

from typing import Any, Final

import lightning.pytorch as lightning
import torch

from pkdn_lightning.console import console
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.modules.base import SRModule, gradient_norms, in_words

_EVERY: Final = 50
_FACES: Final = 4
_LEARNT, _DIVERGED = 0.95, 2.0  # errors below the first and above the second, as shares of bicubic interpolation's
_UNTRAINED: Final = 100.0
"""A share that the error of an untrained network does not reach, whatever grey its faces have."""
_LATE: Final = 2000
"""Steps after which a network should have learnt something."""


class CollapseWatch(lightning.Callback):
    """Compares a network with bicubic interpolation on some faces of the batch, at logging steps 50 or more apart.

    A network with a global residual starts near bicubic interpolation, and can fall back to it: its layers then give a
    constant, and their gradients vanish. This is told once, when it is seen twice in a row after the network had learnt
    something or diverged, or late in the training. So is a network that diverges, which need not end in a NaN. At the
    end of the training it is told if the error of bicubic interpolation is smaller still.
    """

    def __init__(self) -> None:
        self._faces: dict[str, Any] = {}
        self._learnt, self._away, self._next = False, False, _EVERY
        self._before, self._told = "", set[str]()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Restores the faces in evaluation mode, which changes no statistics and draws no random numbers."""
        self._faces = {name: tensor[:_FACES] for name, tensor in batch.items()}
        step, interval = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]  # by a connector
        if step % interval or step < self._next or not isinstance(pl_module, SRModule):
            return  # between logging steps the host must not wait for the device
        self._next = step + _EVERY
        added, error = against_bicubic(pl_module, self._faces)
        self._learnt = self._learnt or error < _LEARNT or step > _LATE
        self._away = self._away or self._learnt or error > _DIVERGED
        seen = ""
        if added < 0.1 and error > 0.97:
            seen = f"the network restores as bicubic interpolation does; what it adds is {added:.0%} of what is missing"
        elif error > (_DIVERGED if self._learnt else _UNTRAINED):
            seen = f"the network has diverged; its error is {error:,.3g} times that of bicubic interpolation"
        kind = seen.partition(";")[0]
        if self._away and seen and kind == self._before and kind not in self._told and trainer.is_global_zero:
            self._told.add(kind)
            remedies = _remedies(pl_module, trainer, "ffb" if "interpolation does" in kind else "")
            console.print(f"Step {step:,}: {seen}. {remedies}", markup=False, highlight=False)
        self._before = kind

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tells that the network is worse than bicubic interpolation on the last training faces."""
        if self._told or not self._faces or not isinstance(pl_module, SRModule):
            return
        _, error = against_bicubic(pl_module, self._faces)
        if error > 1 and trainer.is_global_zero:
            console.print(
                f"On the last training faces the network's error is {error:.2g} times that of bicubic interpolation. "
                "Train longer, or with another optimizer.lr.",
                markup=False,
                highlight=False,
            )


@torch.no_grad()
def against_bicubic(module: SRModule, batch: Any) -> tuple[float, float]:
    """Returns how far SR is from bicubic interpolation, and from HR; 1 is the error of bicubic interpolation."""
    training = module.net.training
    module.net.eval()
    try:
        sr = module(batch).float()
    finally:
        module.net.train(training)
    bicubic = enlarge(batch["lr"].float(), module.net.scale)
    differences = torch.stack([sr - bicubic, sr - batch["hr"], bicubic - batch["hr"]]).abs().mean((1, 2, 3, 4))
    added, error = (differences[:2] / differences[2].clamp_min(1e-6)).tolist()
    return added, error


def _remedies(module: SRModule, trainer: lightning.Trainer, option: str) -> str:
    """Returns the gradients and what to type; `option` is one of the network's that helps, if it has it."""
    passes = module.net.spec.get(option) is False
    other = f", or with model.{option}=true, which lets gradients pass the bottleneck" if passes else ""
    return (
        f"Gradient norms: {in_words(gradient_norms(module.net), trainer)}.\nIt rarely recovers. Stop it "
        f"(Ctrl-C), and train with a lower rate, e.g. half of optimizer.lr{other}."
    )
