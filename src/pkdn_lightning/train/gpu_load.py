"""Whether a batch is large enough for the GPU, measured before a tuned training, and what follows from it."""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor

from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.hardware import on_gpu, why_not_compiled
from pkdn_lightning.modules import SRModule

_LARGER: Final = 4
_LAUNCH_BOUND: Final = 2.0
"""Gain of a batch that is `_LARGER` times as large, from which on the GPU mostly waits for kernels to be launched."""
_RESIDENT_SHARE: Final = 0.25  # of the free memory; the rest is for the training
_ROUNDS: Final = 2
_AUTOCAST: Final = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

Rates = Callable[[SRModule, Mapping[str, Tensor], tuple[int, int], str, torch.device], tuple[float, float] | None]


def fit_to_gpu(cfg: DictConfig, module: SRModule, datamodule: FaceSRDataModule, rates: Rates | None = None) -> str:
    """Sets `module.compile` and `data.resident` of a tuned training on a GPU where they are open.

    The batch stays as it is, because it changes the result; what a larger one would gain is returned as advice.

    Args:
        cfg: The configuration, after `autotune.tune`.
        module: The module to be trained.
        datamodule: Its data.
        rates: Returns faces per second at two batch sizes, or None if memory is too small; `measured_rates` if None.

    Returns:
        Lines with the choices, their reasons and the advice; empty if there are none.
    """
    if not (cfg.tuned and on_gpu(cfg.trainer.accelerator)):
        return ""
    lines = [_keep_faces(cfg, datamodule)]
    if cfg.module.compile is None and (missing := why_not_compiled()):
        cfg.module.compile = False
        lines.append(f"Chosen: module.compile=false ({missing}).")
    if cfg.trainer.strategy == "auto":  # others may start processes that cannot use CUDA once it was used here
        devices = cfg.trainer.devices
        device = torch.device("cuda", devices[0] if isinstance(devices, ListConfig) else 0)
        sizes = int(cfg.data.batch_size), int(cfg.data.batch_size) * _LARGER
        face: Any = datamodule.preview("train", 1)
        found = (rates or measured_rates)(module, face, sizes, str(cfg.trainer.precision), device)
        torch.cuda.empty_cache()  # of the copies
        lines.append(_use(cfg, sizes, found))
    if cfg.module.compile is None:
        cfg.module.compile = True
        lines.append("Chosen: module.compile=true, which costs minutes first.")
    return "\n".join(filter(None, lines))


def measured_rates(
    module: SRModule, face: Mapping[str, Tensor], sizes: tuple[int, int], precision: str, device: torch.device
) -> tuple[float, float] | None:
    """Returns how many faces a second the networks of a training step process, at each of two batch sizes.

    That is the trained network forward and backward and the others forward, without losses and optimiser, on copies:
    weights, statistics and random numbers stay as they are. Takes one to two seconds on a GPU.
    """
    trained, *others = [copy.deepcopy(net).to(device) for net in module.networks()]
    autocast = torch.autocast(device.type, _AUTOCAST.get(precision), enabled=precision in _AUTOCAST)

    def seconds(batch: Any) -> float:
        begun = time.perf_counter()
        with autocast:
            sr = trained(*trained.inputs(batch)).sr
            with torch.no_grad():
                for net in others:
                    net(*net.inputs(batch))
        sr.float().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            batches = [{key: x.to(device).expand(size, *x.shape[1:]) for key, x in face.items()} for size in sizes]
            taken = [min([seconds(batch) for _ in range(_ROUNDS + 1)][1:]) for batch in batches]  # the first warms up
    except torch.OutOfMemoryError:
        return None
    return sizes[0] / taken[0], sizes[1] / taken[1]


def _use(cfg: DictConfig, sizes: tuple[int, int], rates: tuple[float, float] | None) -> str:
    """Chooses CUDA graphs for small batches, and returns advice on larger ones."""
    gain = rates[1] / rates[0] if rates else 1.0
    if gain <= _LAUNCH_BOUND:
        return ""
    choice = ""
    if cfg.module.compile is None and cfg.trainer.accumulate_grad_batches == 1:
        cfg.module.compile = "graphs"
        choice = "Chosen: module.compile=graphs, which launches a network's kernels at once. "
    small, large = sizes
    length = f" trainer.max_steps={max(1, cfg.trainer.max_steps // _LARGER)}" if cfg.trainer.max_steps > 0 else ""
    # Adam's rate grows with the square root of the batch (Malladi et al., NeurIPS 2022)
    rate = f" optimizer.lr={cfg.optimizer.lr * _LARGER**0.5:g}" if "lr" in cfg.optimizer else ""
    return (
        f"data.batch_size={small} reaches {100 / gain:.0f} % of the faces a second of {large}: the GPU waits for "
        f"kernels to be launched. {choice}For as many faces in less time: data.batch_size={large}{rate}{length}"
    )


def _keep_faces(cfg: DictConfig, datamodule: FaceSRDataModule) -> str:
    if cfg.data.resident is not None:
        return ""
    size, free = sum(array.nbytes for array in datamodule.store.arrays.values()), torch.cuda.mem_get_info()[0]
    cfg.data.resident = datamodule.resident = size < _RESIDENT_SHARE * free
    verb = "fit" if cfg.data.resident else "do not fit"
    return f"Chosen: data.resident={str(cfg.data.resident).lower()} ({size / 1e9:.1f} GB of faces {verb} the GPU)."
