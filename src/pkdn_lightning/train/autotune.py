"""What a run leaves open, chosen for the machine it runs on. What the configuration says itself is never changed."""

import torch
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.hardware import bfloat16_instructions, choose_precision

_COMPILING_PAYS_STEPS = 5000
"""Compiling teacher and student takes minutes, and a step gains hundredths of a second."""


def tune(cfg: DictConfig) -> str | None:
    """Decides in place what `cfg` leaves open: precision, layout, compilation, cuDNN's search, the Adam kernel.

    What is computed stays the same but for rounding: bf16-mixed rounds activations to 8 bits of mantissa, and keeps
    weights, losses, metrics and optimiser in float32.

    Returns:
        One line that says what was chosen and why; None where nothing was to be chosen.
    """
    choices = list(filter(None, [_precision(cfg), _layout(cfg), _compilation(cfg), _search(cfg), _kernel(cfg)]))
    if not cfg.tuned or not choices:
        return None
    return f"Tuned for this machine: {', '.join(choices)}. Any of it can be set by hand and then stays so."


def _on_gpu(cfg: DictConfig) -> bool:
    return cfg.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _on_cpu(cfg: DictConfig) -> bool:
    return cfg.trainer.accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


def _precision(cfg: DictConfig) -> str | None:
    if cfg.trainer.precision != "auto":
        return None
    instructions = bfloat16_instructions() if cfg.tuned and _on_cpu(cfg) else None
    cfg.trainer.precision = "bf16-mixed" if instructions else choose_precision("auto", cfg.trainer.accelerator)
    if _on_cpu(cfg):
        reason = f"the CPU has {instructions}" if instructions else "the CPU has no bfloat16 instructions"
    else:
        reason = "the accelerator's own"
    return f"trainer.precision={cfg.trainer.precision} ({reason})"


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
    """Takes Adam in one kernel, except where Lightning refuses: with clipped gradients in mixed precision."""
    clipped = bool(cfg.trainer.gradient_clip_val) and str(cfg.trainer.precision).endswith("-mixed")
    adam = str(cfg.optimizer.get("_target_", "")) in ("torch.optim.Adam", "torch.optim.AdamW")
    if not cfg.tuned or not adam or clipped or {"fused", "foreach"} & set(cfg.optimizer):
        return None
    OmegaConf.update(cfg, "optimizer.fused", True, force_add=True)
    return "optimizer.fused=true"
