"""Device selection and process setup, and CPU capabilities."""

import ctypes
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from pkdn_lightning.errors import ConfigError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_OUT_OF_MEMORY = ("out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
_DEVICE = (  # torch before 2.8 has no class; later ones use it for "CUDA error" only
    "CUDA error", "CUDA driver error", "HIP error", "NCCL error", "cuDNN error", "CUBLAS_STATUS_", "CUDNN_STATUS_",
)  # fmt: skip
_BFLOAT16 = ("amx_bf16", "amx_tile", "avx512_bf16")


def set_up(
    *, threads: int | None = None, accelerator: str = "auto", key: str = "accelerator", tf32: bool = False
) -> torch.device:
    """Sets up this process for computation; every verb that computes calls it first.

    Args:
        threads: CPU threads; None leaves the choice to torch.
        accelerator: `auto`, `cpu` or `gpu`.
        key: The key of `accelerator`, for the message.
        tf32: Allows TF32 (10 bits of mantissa) in float32 matrix products on GPUs. Faster, for training only;
            evaluation and restoration use full float32.

    Returns:
        The device to compute on.

    Raises:
        ConfigError: If `accelerator` is `gpu` and there is none.
    """
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError(f"{key}={accelerator}, but PyTorch found no GPU. Set {key}=cpu or auto.")
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    keep_freed_memory()
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def full_float32() -> Iterator[None]:
    """Switches TF32 off, in matrix products and convolutions, and restores the settings afterwards."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Returns whether an error of torch means that memory ran out, on a device or the host."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)


def is_device_failure(error: RuntimeError) -> bool:
    """Returns whether an error of torch means that a GPU or its driver failed."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or any(sign in str(error) for sign in _DEVICE)


def on_gpu(accelerator: str) -> bool:
    """Returns whether a training with this `trainer.accelerator` computes on a CUDA device."""
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def on_cpu(accelerator: str) -> bool:
    """Returns whether a training with this `trainer.accelerator` computes on the CPU."""
    return accelerator == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


def why_not_compiled() -> str | None:
    """Returns why `torch.compile` cannot work on the GPU; None if nothing is known to be missing.

    It writes Triton kernels, and Triton compiles their launchers by a C compiler; the first training step would fail.
    """
    if find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability() < (7, 0):
        return "Triton needs a GPU of compute capability 7.0"
    if not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))):
        return "Triton needs a C compiler"
    return None


def choose_precision(precision: str, accelerator: str) -> str:
    """Returns the training precision; `auto` is bf16-mixed on a GPU that computes in bfloat16, else float32.

    NVIDIA's do from Ampere on; PyTorch also supports older ones, by emulation, which is slower than float32. On a CPU,
    mixed precision needs rare instructions to be faster, so only a tuned run chooses it (see `train.autotune`).

    Raises:
        ConfigError: If it is 16-mixed without a GPU, for which Lightning would take another one.
    """
    if precision in ("16-mixed", "16") and on_cpu(accelerator):
        raise ConfigError(f"trainer.precision={precision} needs a GPU. On a CPU: trainer.precision=bf16-mixed")
    if precision != "auto":
        return precision
    return (
        "bf16-mixed" if on_gpu(accelerator) and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    )


def bfloat16_instructions() -> str | None:
    """Returns the name of this CPU's bfloat16 instructions, or None if it has none.

    Without them, mixed precision converts back and forth and is slower than float32.
    """
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    known = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_tile": "_is_amx_tile_supported"}
    for name in _BFLOAT16:
        older = getattr(torch.cpu, known.get(name, ""), None)  # torch versions without get_capabilities
        if found.get(name) or (not found and older is not None and older()):
            return name
    return None


def bfloat16_gain(channels: int = 64) -> float:
    """Returns how many times as fast this CPU trains a convolution in bfloat16 mixed precision as in float32.

    Instructions do not tell: of two processors with them, one gains and one loses. Takes about a tenth of a second.
    The CPU time of one thread is compared: other programs on the machine hardly change it, and several threads would
    count their waiting for each other.

    Args:
        channels: Width of the 3x3 convolution.
    """

    def seconds(*, mixed: bool) -> float:
        begun = time.thread_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            result = conv(image)
        result.float().sum().backward()
        return time.thread_time() - begun

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        conv = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
        image = torch.rand(1, channels, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
        rounds = [(seconds(mixed=False), seconds(mixed=True)) for _ in range(4)][1:]  # the first one warms up
    torch.set_num_threads(threads)
    full, mixed = map(min, zip(*rounds, strict=True))
    return full / mixed


def keep_freed_memory() -> None:
    """Makes glibc reuse freed memory instead of returning it to the system; no effect with other C libraries.

    By default glibc gives every tensor above 32 MB new pages, which the system zeroes and maps one by one: a quarter
    of the time of a float32 training step. With reuse, the memory of a process stays at its peak.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
