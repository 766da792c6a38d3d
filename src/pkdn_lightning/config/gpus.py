"""One accelerator per job: which there are on this machine, and which of them is free. Needs no torch.

It must not: a process that has asked CUDA what there is keeps the answer, whatever is hidden from it later.
"""

import getpass
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout


def gpus() -> list[str]:
    """Returns the NVIDIA devices that this process may use, by the names that `CUDA_VISIBLE_DEVICES` takes."""
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
    """Returns how many jobs this machine can run side by side: one per GPU, or one per core where there is none."""
    return len(gpus()) or os.cpu_count() or 1


@cache
def take_gpu() -> FileLock | None:
    """Takes a GPU that no job on this machine has, for as long as this process lives; the others are hidden from it.

    Returns:
        What keeps other jobs from it, or None where there is nothing to choose from.
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
