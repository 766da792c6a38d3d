"""Adversarial training: URDGN with its gate, FSRGAN, DICGAN."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from pkdn_lightning.data.batches import Batch
from pkdn_lightning.losses import Progress
from pkdn_lightning.modules.student import StudentModule
from pkdn_lightning.networks.contract import SROutput

_CHECKPOINT_KEY = "discriminator"
_TOO_STRONG, _TOO_WEAK = 0.3, 0.7  # URDGN's thresholds for the discriminator's loss


class Errors(NamedTuple):
    """Binary cross-entropies of a discriminator on true and on restored faces."""

    true: Tensor
    restored: Tensor


class Adversary:
    """A discriminator and its optimiser, updated before each step of the network.

    It is not an `nn.Module`, which excludes it from the network's optimiser, weight averaging and gradient
    synchronisation; `AdversarialModule` saves and restores it.

    Args:
        net: Returns logits (B, 1) for faces (B, 3, H, W) in [0, 1]; positive means true.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.optimizer: Optimizer | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # weight averaging copies the module; the discriminator is not averaged

    def errors(self, hr: Tensor, sr: Tensor) -> Errors:
        """Returns the discriminator's losses on true and restored faces."""
        true, restored = self.net(hr), self.net(sr)
        return Errors(
            F.binary_cross_entropy_with_logits(true, torch.ones_like(true)),
            F.binary_cross_entropy_with_logits(restored, torch.zeros_like(restored)),
        )

    def generator_loss(self, sr: Tensor) -> Tensor:
        """Returns the generator's adversarial loss, with gradients for the faces only."""
        self.net.requires_grad_(False)
        logits = self.net(sr)
        self.net.requires_grad_(True)
        return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def learn(self, errors: Errors, rate: float, wanted: Tensor | None = None) -> None:
        """Takes an optimiser step of the discriminator at the generator's learning rate.

        Args:
            errors: The discriminator's losses, with their graph.
            rate: The learning rate.
            wanted: Whether to take the step, a boolean scalar on the device; None takes it. The step is computed in
                either case and undone if unwanted, because asking for the value would make the host wait.
        """
        assert self.optimizer is not None  # set by configure_optimizers
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        (errors.true + errors.restored).backward()  # type: ignore[no-untyped-call]  # torch's stub
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for parameter in self.net.parameters():
                if parameter.grad is not None:
                    torch.distributed.all_reduce(parameter.grad, torch.distributed.ReduceOp.AVG)
        with _undone_unless(self.optimizer, lambda: wanted, possible=wanted is not None):
            self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Returns weights and optimiser state."""
        assert self.optimizer is not None
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}


@contextmanager
def _undone_unless(optimizer: Optimizer, wanted: Callable[[], Tensor | None], *, possible: bool) -> Iterator[None]:
    """Undoes the optimiser's step taken inside, in weights and optimiser state, unless it is wanted.

    Args:
        optimizer: The optimiser.
        wanted: Returns a boolean scalar on the device after the step; None keeps the step.
        possible: Whether the step may be undone; if not, nothing is copied.
    """

    def values() -> list[Tensor]:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        states = [each for state in optimizer.state.values() for each in state.values() if isinstance(each, Tensor)]
        return [*weights, *states]

    before = {id(value): value.detach().clone() for value in values()} if possible else {}
    yield
    keep = wanted() if possible else None
    if keep is not None:
        with torch.no_grad():
            for value in values():  # the optimiser's own begin at 0
                value.copy_(torch.where(keep, value, before.get(id(value), torch.zeros_like(value))))


class AdversarialModule(StudentModule):
    """Trains a network that reads LR faces with an adversarial loss in addition to the objective's terms.

    Args:
        *args: See `SRModule`.
        discriminator: Returns logits (B, 1) that separate true from restored faces.
        adversarial_weight: Weight of the adversarial loss.
        gate: URDGN's gate: the discriminator skips a step if its loss on true or restored faces is below 0.3, the
            network skips a step if one of them is above 0.7; if both would skip, both are updated. A skipped step
            changes neither weights nor the optimiser's state; it counts for the learning rate schedule.
        **kwargs: See `StudentModule`.
    """

    def __init__(
        self, *args: Any, discriminator: nn.Module, adversarial_weight: float, gate: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.adversary = Adversary(discriminator)
        self.adversarial_weight, self.gate = adversarial_weight, gate
        self._saved: Mapping[str, Any] | None = None
        self._updates: Tensor | None = None  # whether any batch since the last step updates the network

    @property
    def role(self) -> str:
        """`adversarial`."""
        return "adversarial"

    def loss(self, batch: Batch, output: SROutput, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """Updates the discriminator, and returns the objective with the adversarial loss added."""
        total, parts = super().loss(batch, output, progress)
        with _without_float16(self.device.type):
            errors = self.adversary.errors(batch["hr"], output.sr.detach().float())
            update_network, update_discriminator = self._gated(errors)
            self.adversary.learn(errors, self._rate(), update_discriminator)
            generator_loss = self.adversary.generator_loss(output.sr.float())
        total = total + self.adversarial_weight * generator_loss
        parts |= {
            "adversarial": generator_loss.detach(),
            "true": errors.true.detach(),
            "restored": errors.restored.detach(),
        }
        if update_network is not None:  # where gradients are accumulated, this batch adds none
            total = torch.where(update_network, total, total.detach())
            self._updates = update_network if self._updates is None else self._updates | update_network
        return total, parts

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Takes a step of the network, and undoes it if the gate says so."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        with _undone_unless(optimizer, lambda: self._updates, possible=self.gate):
            super().optimizer_step(*args, **kwargs)
        self._updates = None

    def configure_optimizers(self) -> Any:
        """Returns the network's optimiser and scheduler; also creates the discriminator's optimiser."""
        self.adversary.net.to(self.device)
        self.adversary.optimizer = self._make_optimizer(self.adversary.net.parameters())
        if self._saved is not None:
            self.adversary.net.load_state_dict(self._saved["net"])
            self.adversary.optimizer.load_state_dict(self._saved["optimizer"])
        configured = super().configure_optimizers()
        if self.gate and self.device.type == "cuda":
            network = configured["optimizer"] if isinstance(configured, dict) else configured
            for optimizer in (self.adversary.optimizer, network):
                _count_on_device(optimizer, self.device)
        return configured

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the discriminator."""
        super().on_save_checkpoint(checkpoint)
        if self.adversary.optimizer is not None:
            checkpoint[_CHECKPOINT_KEY] = self.adversary.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the discriminator's state until `configure_optimizers` restores it."""
        super().on_load_checkpoint(checkpoint)
        self._saved = checkpoint.get(_CHECKPOINT_KEY)

    def _gated(self, errors: Errors) -> tuple[Tensor | None, Tensor | None]:
        """Returns whether to update the network and the discriminator, boolean scalars; None without a gate."""
        if not self.gate:
            return None, None
        losses = torch.stack(errors).detach()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(losses, torch.distributed.ReduceOp.AVG)  # all processes decide alike
        network, adversary = losses.max() <= _TOO_WEAK, losses.min() >= _TOO_STRONG
        neither = ~(network | adversary)
        return network | neither, adversary | neither

    def _rate(self) -> float:
        return float(self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]  # there is one optimiser


def _count_on_device(optimizer: Optimizer, device: torch.device) -> None:
    """Has an optimiser count its steps on the device, where `_undone_unless` undoes them."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = torch.as_tensor(state["step"], dtype=torch.float32, device=device)


def _without_float16(device_type: str) -> torch.autocast:
    """Returns a context that keeps bfloat16 autocast and disables float16 autocast.

    The discriminator's step has no gradient scaler, which float16 needs.
    """
    mixed, dtype = torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=mixed and dtype is torch.bfloat16)
