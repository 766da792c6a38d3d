"""Settings that a configuration leaves open, chosen for the machine. Values that are set are never changed."""

from typing import Final

from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.hardware import bfloat16_gain, choose_precision, on_cpu, on_gpu

_COMPILING_PAYS_STEPS = 5000
"""Compiling takes minutes and saves hundredths of a second a step; shorter trainings do without."""
WORTH_ROUNDING: Final = 1.05
"""How much faster bfloat16 has to be."""


def tune(cfg: DictConfig) -> str | None:
    """Sets what `cfg` leaves open: precision, memory layout, compilation, cuDNN's search, the Adam kernel.

    On a GPU, `gpu_load.fit_to_gpu` then decides the rest.

    Results differ by rounding only: bf16-mixed rounds activations to 8 bits of mantissa and keeps weights, losses,
    metrics and optimiser in float32.

    Returns:
        A line with the choices and their reasons; None if nothing was open.
    """
    if cfg.data.resident is None and not (cfg.tuned and on_gpu(cfg.trainer.accelerator)):
        cfg.data.resident = False
    choices = list(filter(None, [_precision(cfg), _layout(cfg), _compilation(cfg), _search(cfg), _kernel(cfg)]))
    if not cfg.tuned or not choices:
        return None
    return f"Tuned for this machine: {', '.join(choices)}. Set any of them to override it."


def _precision(cfg: DictConfig) -> str | None:
    if cfg.trainer.precision != "auto":
        return None
    cfg.trainer.precision = choose_precision("auto", cfg.trainer.accelerator)
    if not (cfg.tuned and on_cpu(cfg.trainer.accelerator)):
        return f"trainer.precision={cfg.trainer.precision} (the accelerator's own)"
    gain = bfloat16_gain()
    if gain > WORTH_ROUNDING:
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
    gpu, short = on_gpu(cfg.trainer.accelerator), 0 <= cfg.trainer.max_steps < _COMPILING_PAYS_STEPS
    if cfg.tuned and gpu and not short:
        return None  # `gpu_load` measures first
    cfg.module.compile = False
    return f"module.compile=false ({'it costs minutes first' if gpu else 'it gains little on a CPU'})"


def _search(cfg: DictConfig) -> str | None:
    if cfg.trainer.benchmark is not None or not (cfg.tuned and on_gpu(cfg.trainer.accelerator)):
        return None
    cfg.trainer.benchmark = True
    return "trainer.benchmark=true"


def _kernel(cfg: DictConfig) -> str | None:
    adam = str(cfg.optimizer.get("_target_", "")) in ("torch.optim.Adam", "torch.optim.AdamW")
    if not cfg.tuned or not adam or {"fused", "foreach"} & set(cfg.optimizer):
        return None
    OmegaConf.update(cfg, "optimizer.fused", True, force_add=True)
    return "+optimizer.fused=true"
