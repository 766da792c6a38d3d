"""Adversarial training: URDGN with its gate, FSRGAN, DICGAN."""

from collections.abc import Mapping
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
        before = {} if wanted is None else {id(value): value.clone() for value in self._values()}
        self.optimizer.step()
        if wanted is None:
            return
        with torch.no_grad():
            for value in self._values():  # the optimiser's own begin at 0
                value.copy_(torch.where(wanted, value, before.get(id(value), torch.zeros_like(value))))

    def _values(self) -> list[Tensor]:
        """Returns weights and the optimiser's state, all of which a step changes in place."""
        assert self.optimizer is not None
        states = [
            each for state in self.optimizer.state.values() for each in state.values() if isinstance(each, Tensor)
        ]
        return [*self.net.parameters(), *states]

    def state(self) -> dict[str, Any]:
        """Returns weights and optimiser state."""
        assert self.optimizer is not None
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}


class AdversarialModule(StudentModule):
    """Trains a network that reads LR faces with an adversarial loss in addition to the objective's terms.

    Args:
        *args: See `SRModule`.
        discriminator: Returns logits (B, 1) that separate true from restored faces.
        adversarial_weight: Weight of the adversarial loss.
        gate: URDGN's gate: the discriminator skips a step if its loss on true or restored faces is below 0.3, the
            network skips a step if one of them is above 0.7; if both would skip, both are updated.
        **kwargs: See `StudentModule`.
    """

    def __init__(
        self, *args: Any, discriminator: nn.Module, adversarial_weight: float, gate: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.adversary = Adversary(discriminator)
        self.adversarial_weight, self.gate = adversarial_weight, gate
        self._saved: Mapping[str, Any] | None = None

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
        if update_network is not None:  # multiplied by 0 instead of skipped: step counts and schedules stay in sync
            total = total * update_network
        return total, parts

    def configure_optimizers(self) -> Any:
        """Returns the network's optimiser and scheduler; also creates the discriminator's optimiser."""
        self.adversary.net.to(self.device)
        self.adversary.optimizer = self._make_optimizer(self.adversary.net.parameters())
        if self._saved is not None:
            self.adversary.net.load_state_dict(self._saved["net"])
            self.adversary.optimizer.load_state_dict(self._saved["optimizer"])
        if self.gate and self.device.type == "cuda":
            _count_on_device(self.adversary.optimizer, self.device)
        return super().configure_optimizers()

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
    """Has an optimiser count its steps on the device, which `Adversary.learn` undoes there."""
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
