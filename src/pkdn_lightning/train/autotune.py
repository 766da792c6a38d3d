"""Settings that a configuration leaves open, chosen for the machine. Values that are set are never changed."""

import torch
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.hardware import bfloat16_gain, choose_precision

_COMPILING_PAYS_STEPS = 5000
"""Compiling takes minutes and saves hundredths of a second a step; shorter trainings do without."""
_WORTH_ROUNDING = 1.05
"""How much faster bfloat16 has to be."""


def tune(cfg: DictConfig) -> str | None:
    """Sets what `cfg` leaves open: precision, memory layout, compilation, cuDNN's search, the Adam kernel.

    Results differ by rounding only: bf16-mixed rounds activations to 8 bits of mantissa and keeps weights, losses,
    metrics and optimiser in float32.

    Returns:
        A line with the choices and their reasons; None if nothing was open.
    """
    choices = list(filter(None, [_precision(cfg), _layout(cfg), _compilation(cfg), _search(cfg), _kernel(cfg)]))
    if not cfg.tuned or not choices:
        return None
    return f"Tuned for this machine: {', '.join(choices)}. Set any of them to override it."


def _on_gpu(cfg: DictConfig) -> bool:
    return cfg.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _on_cpu(cfg: DictConfig) -> bool:
    return cfg.trainer.accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


def _precision(cfg: DictConfig) -> str | None:
    if cfg.trainer.precision != "auto":
        return None
    cfg.trainer.precision = choose_precision("auto", cfg.trainer.accelerator)
    if not (cfg.tuned and _on_cpu(cfg)):
        return f"trainer.precision={cfg.trainer.precision} (the accelerator's own)"
    gain = bfloat16_gain()
    if gain > _WORTH_ROUNDING:
        cfg.trainer.precision = "bf16-mixed"
    return f"trainer.precision={cfg.trainer.precision} (here bfloat16 takes {1 / gain:.1f} times as long as float32)"


def _layout(cfg: DictConfig) -> str | None:
    if cfg.module.channels_last is not None:
        return None
    cfg.module.channels_last = bool(cfg.tuned)
    return "module.channels_last=true"


def _compilation(cfg: DictConfig) -> str | None:
    if cfg.module.compile is not None:
        return None
    long = not 0 <= cfg.trainer.max_steps < _COMPILING_PAYS_STEPS
    cfg.module.compile = bool(cfg.tuned and _on_gpu(cfg) and long)
    reason = "it costs minutes first" if cfg.module.compile or _on_gpu(cfg) else "it gains little on a CPU"
    return f"module.compile={str(cfg.module.compile).lower()} ({reason})"


def _search(cfg: DictConfig) -> str | None:
    if cfg.trainer.benchmark is not None or not (cfg.tuned and _on_gpu(cfg)):
        return None
    cfg.trainer.benchmark = True
    return "trainer.benchmark=true"


def _kernel(cfg: DictConfig) -> str | None:
    adam = str(cfg.optimizer.get("_target_", "")) in ("torch.optim.Adam", "torch.optim.AdamW")
    if not cfg.tuned or not adam or {"fused", "foreach"} & set(cfg.optimizer):
        return None
    OmegaConf.update(cfg, "optimizer.fused", True, force_add=True)
    return "optimizer.fused=true"
