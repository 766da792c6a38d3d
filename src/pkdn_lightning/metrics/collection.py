"""Means over all images of an epoch, independent of batch size, number of processes and training precision."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.functional.resize import widest_float
from pkdn_lightning.metrics.functional import HEADLINE, PROTOCOLS, psnr, ssim


class MeanOverImages(Metric):
    """The mean of a per-image metric over all images.

    The states are a sum and a count, so uneven batches and several processes give the mean of all images. They stay
    float64 (float32 on MPS) when the owning module is cast for half-precision training. A single infinite value (PSNR
    of equal images) makes the mean infinite.

    Args:
        per_image: Takes SR and HR, (B, 3, H, W) in [0, 1], and returns (B,).
        **kwargs: Passed to `torchmetrics.Metric`.

    Example:
        >>> metric = MeanOverImages(psnr)
        >>> metric.update(torch.ones(2, 3, 32, 32), torch.zeros(2, 3, 32, 32))
        >>> metric.compute()
        tensor(1.3219, dtype=torch.float64)
    """

    is_differentiable: Final = False
    higher_is_better: Final = True
    full_state_update: Final = False
    total: Tensor
    images: Tensor

    def __init__(self, per_image: Callable[[Tensor, Tensor], Tensor], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.per_image = per_image
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, sr: Tensor, hr: Tensor) -> None:
        """Adds a batch of images.

        Args:
            sr: Restored images, RGB in [0, 1], (B, 3, H, W).
            hr: Ground truth, same shape and range.
        """
        values = self.per_image(sr, hr)
        self.total = self.total + values.sum()
        self.images = self.images + values.numel()

    def compute(self) -> Tensor:
        """Returns the mean so far, a float64 scalar."""
        return self.total / self.images

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> torch.nn.Module:
        # torchmetrics ignores .half() and .bfloat16(), but not .to(dtype), which Lightning calls for precision
        # "bf16-true". Only changes of device are applied.
        device = fn(torch.zeros(1, device=self.device)).device

        def move(state: Tensor) -> Tensor:
            return state.to(device, widest_float(device) if state.is_floating_point() else state.dtype)

        moved: torch.nn.Module = super()._apply(move, exclude_state)
        return moved


def face_sr_metrics(protocol: str = HEADLINE.name) -> MetricCollection:
    """Returns the mean PSNR and SSIM under a named protocol.

    Args:
        protocol: One of `PROTOCOLS`.

    Returns:
        A collection, updated with (sr, hr). Its keys are `psnr_y` and `ssim_y` under the headline protocol, and end
        in the protocol's name under any other: `psnr_rgb`, `ssim_no_border`, `psnr_float`...

    Raises:
        ConfigError: If `protocol` is unknown.

    Example:
        >>> sorted(face_sr_metrics()), sorted(face_sr_metrics("rgb"))
        (['psnr_y', 'ssim_y'], ['psnr_rgb', 'ssim_rgb'])
    """
    if protocol not in PROTOCOLS:
        hint = did_you_mean(protocol, PROTOCOLS)
        raise ConfigError(f"Unknown protocol '{protocol}'.{hint} Expected one of: {', '.join(PROTOCOLS)}.")
    suffix = "y" if protocol == HEADLINE.name else protocol
    measures = {
        f"psnr_{suffix}": MeanOverImages(partial(psnr, protocol=PROTOCOLS[protocol])),
        f"ssim_{suffix}": MeanOverImages(partial(ssim, protocol=PROTOCOLS[protocol])),
    }
    # Without compute groups, which merge metrics whose states happen to be equal after the first batch.
    return MetricCollection(measures, compute_groups=False)
