"""What the processor can do, and how its memory is best used."""

import ctypes
import sys
from typing import Any

import torch

from pkdn_lightning.errors import ConfigError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_BFLOAT16 = ("amx_bf16", "amx_tile", "avx512_bf16")


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
        raise ConfigError("accelerator=gpu, but there is none here. Use accelerator=cpu or auto.")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
