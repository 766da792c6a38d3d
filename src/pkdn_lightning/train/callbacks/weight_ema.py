"""An exponential moving average of the weights that never makes the host wait for the device."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightEMA(EMAWeightAveraging):
    """Lightning's callback with few kernels per update.

    Lightning's counts the updates on the device and reads that count twice a step, for which the host waits.

    Args:
        decay: Share of the old average that an update keeps.
        **arguments: See `EMAWeightAveraging`.
    """

    def __init__(self, decay: float = 0.999, **arguments: Any) -> None:
        super().__init__(decay=decay, **arguments)
        self.decay = decay

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Copies the module when a training begins."""
        if stage == "fit":
            device = self._device or pl_module.device
            self._average_model = _Average(pl_module, device, self.decay, use_buffers=self._use_buffers)


class _Average(AveragedModel):
    """The averaged copy of a module, which reads its count of updates only until it has begun."""

    def __init__(self, module: nn.Module, device: torch.device | int, decay: float, *, use_buffers: bool) -> None:
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch's stub
        super().__init__(module, device, multi_avg_fn=average, use_buffers=use_buffers)
        self._begun = False

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Updates the average; the first update copies the weights."""
        self._begun = self._begun or bool(self.n_averaged > 0)  # restored after the copy was made
        if not self._begun:
            super().update_parameters(model)
            return
        pairs = list(zip(self._averaged(self.module), self._averaged(model), strict=True))
        for floating in (True, False):
            if chosen := [(own, new.to(own.device)) for own, new in pairs if own.is_floating_point() == floating]:
                own, new = map(list, zip(*chosen, strict=True))
                self.multi_avg_fn(own, new, 0)  # type: ignore[misc]  # set above
        if not self.use_buffers:
            for own_buffer, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
                own_buffer.copy_(buffer)
        self.n_averaged += 1

    def _averaged(self, module: nn.Module) -> Iterator[Tensor]:
        return chain(module.parameters(), module.buffers()) if self.use_buffers else module.parameters()
