"""The machine: how a process is set up on it, which device it computes on, and what its processor can do."""

import ctypes
import sys
from typing import Any

import torch

from pkdn_lightning.errors import ConfigError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_BFLOAT16 = ("amx_bf16", "amx_tile", "avx512_bf16")


def set_up(*, threads: int | None = None, accelerator: str = "auto", tf32: bool = False) -> torch.device:
    """Prepares this process for computing; every verb that computes begins with it.

    Args:
        threads: CPU threads; None leaves the choice to torch.
        accelerator: `auto`, `cpu` or `gpu`.
        tf32: Lets float32 products of a GPU round their factors to 10 bits of mantissa: for training, where it is much
            faster; what is measured and restored is float32 throughout.

    Returns:
        The device to compute on.

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    device = choose_device(accelerator)
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    keep_freed_memory()
    return device


def choose_precision(precision: str, accelerator: str) -> str:
    """Returns the precision of training that `auto` stands for: bf16-mixed on a GPU that has it, else float32.

    Mixed precision on a CPU pays only with instructions that few have, so only a tuned run takes it there by itself
    (see `train.autotune`).
    """
    if precision != "auto":
        return precision
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def bfloat16_instructions() -> str | None:
    """Returns the instructions by which this CPU multiplies bfloat16, or None if it has none.

    Without them mixed precision converts back and forth and is slower than float32.
    """
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    known = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_tile": "_is_amx_tile_supported"}
    for name in _BFLOAT16:
        older = getattr(torch.cpu, known.get(name, ""), None)  # torch before get_capabilities
        if found.get(name) or (not found and older is not None and older()):
            return name
    return None


def keep_freed_memory() -> None:
    """Has the C library keep what tensors free, for the next ones, instead of handing it back to the system.

    By default glibc gives every tensor above 32 MB fresh pages, which the system zeroes and maps one by one; a float32
    training step spends a quarter of its time on that. Kept, the memory of a process stays at its peak. Nothing
    happens where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def choose_device(accelerator: str) -> torch.device:
    """Returns the device that `auto`, `cpu` or `gpu` stands for.

    Raises:
        ConfigError: If a GPU is asked for and there is none.
    """
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError("accelerator=gpu, and there is no GPU here. Use cpu or auto.")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
