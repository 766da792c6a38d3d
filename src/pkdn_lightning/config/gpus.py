"""One GPU per job: lists the GPUs of this machine and reserves a free one.

Does not import torch: once a process has queried CUDA, changes of `CUDA_VISIBLE_DEVICES` no longer have an effect.
"""

import getpass
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout


def gpus() -> list[str]:
    """Returns the NVIDIA devices that this process may use, as in `CUDA_VISIBLE_DEVICES`."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.split()


def jobs_at_once() -> int:
    """Returns how many jobs this machine can run in parallel: one per GPU, or one per core without GPUs."""
    return len(gpus()) or os.cpu_count() or 1


@cache
def take_gpu() -> FileLock | None:
    """Reserves a GPU that no other job on this machine uses, until this process ends, and hides the others from it.

    Returns:
        The lock that reserves it, or None if there is at most one GPU, or none is free.
    """
    names = gpus()
    for name in names if len(names) > 1 else []:
        lock = FileLock(Path(tempfile.gettempdir()) / f"pkdn-{getpass.getuser()}-gpu-{name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        os.environ["CUDA_VISIBLE_DEVICES"] = name
        return lock
    return None
