"""Tells when a network restores as bicubic interpolation does, from which it rarely recovers."""

from typing import Any, Final

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from pkdn_lightning.console import console
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.modules.base import SRModule

_EVERY: Final = 50
_FACES: Final = 4
_LEARNT, _DIVERGED = 0.95, 2.0  # errors below the first and above the second, as shares of bicubic interpolation's
_LATE: Final = 2000
"""Steps after which a network should have learnt something."""


class CollapseWatch(lightning.Callback):
    """Compares a network with bicubic interpolation on some faces of the batch, at logging steps 50 or more apart.

    A network with a global residual starts near bicubic interpolation, and can fall back to it: its layers then give a
    constant, and their gradients vanish. This is told once, when it is seen twice in a row after the network had learnt
    something or diverged, or late in the training.
    """

    def __init__(self) -> None:
        self._away, self._seen, self._told, self._next = False, 0, False, _EVERY

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Restores the faces in evaluation mode, which changes no statistics and draws no random numbers."""
        step, interval = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]  # by a connector
        if self._told or step % interval or step < self._next or not isinstance(pl_module, SRModule):
            return  # between logging steps the host must not wait for the device
        self._next = step + _EVERY
        added, error = against_bicubic(pl_module, {name: tensor[:_FACES] for name, tensor in batch.items()})
        self._away = self._away or error < _LEARNT or error > _DIVERGED or step > _LATE
        self._seen = self._seen + 1 if added < 0.1 and error > 0.97 else 0
        if self._away and self._seen > 1 and trainer.is_global_zero:
            self._told = True
            console.print(_message(step, added, pl_module.net), markup=False, highlight=False)


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


def gradient_norms(net: nn.Module) -> dict[str, Tensor]:
    """Returns the norm of the last gradients of each part of a network."""
    gradients = {
        name: [parameter.grad for parameter in part.parameters() if parameter.grad is not None]
        for name, part in net.named_children()
    }
    return {name: torch.nn.utils.get_total_norm(each) for name, each in gradients.items() if each}


def _message(step: int, added: float, net: nn.Module) -> str:
    norms = ", ".join(f"{name} {float(norm):.1g}" for name, norm in gradient_norms(net).items())
    return (
        f"Step {step:,}: the network restores as bicubic interpolation does; what it adds is {added:.0%} of what is "
        f"missing. Gradient norms: {norms}.\nIt rarely recovers. Stop it (Ctrl-C), and train with a lower rate, e.g. "
        "half of optimizer.lr, or with model.ffb=true, which lets gradients pass the bottleneck."
    )
