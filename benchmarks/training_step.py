"""Row 2: the distillation step on a CPU, as `recipe=fast` runs it, against PyTorch's defaults.

    python benchmarks/training_step.py

Each variant runs in a process of its own: teacher forward, student forward and backward, Adam; full-size networks.
"""

import argparse
import contextlib
from typing import Final

import torch
from timing import Claim, Worker, arguments, compared, interleaved, report, serve

from networks import Settings, step
from pkdn_lightning.hardware import bfloat16_gain, keep_freed_memory

TARGET = 2.0
VARIANTS: Final = {
    "plain": (Settings(), False),
    "memory": (Settings(), True),
    "layout": (Settings(channels_last=True), True),
    "tuned": (Settings(channels_last=True, mixed=True), True),
}
"""Settings, and whether the process keeps freed memory."""
_NAMES: Final = {
    "memory": "float32, freed memory kept (every run of the suite)",
    "layout": "and channels last",
    "tuned": "and bf16-mixed: recipe=fast",
}


def work(name: str, options: argparse.Namespace) -> None:
    """Serves one variant."""
    settings, kept = VARIANTS[name]
    if kept:
        keep_freed_memory()
    torch.set_num_threads(options.threads)
    once = step(Settings(**{**vars(settings), "batch": options.batch, "width": options.width}))
    serve(lambda: once() and None)


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures every variant against the plain one."""
    told = ("--threads", str(options.threads), "--batch", str(options.batch), "--width", str(options.width))
    with contextlib.ExitStack() as processes:
        workers = {name: processes.enter_context(Worker(__file__, name, *told)) for name in VARIANTS}
        taken = interleaved(workers, options.rounds)
    against = f"float32, contiguous, PyTorch's defaults, batch {options.batch}: {min(taken['plain']):.2f} CPU s"
    made = []
    for name, what in _NAMES.items():
        note = f"{min(taken[name]):.2f} CPU s a step"
        if name == "tuned":
            note += f"; a convolution in bfloat16 takes {1 / bfloat16_gain():.2f} times as long as in float32 here"
        target = TARGET if name == "tuned" else float("nan")
        made.append(Claim("2", what, against, *compared(taken["plain"], taken[name]), target, note=note))
    return made


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--width", type=int, default=64, help="of both networks")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    if chosen.worker:
        work(chosen.worker[0], chosen)
    else:
        torch.set_num_threads(chosen.threads)
        report(claims(chosen), chosen)
