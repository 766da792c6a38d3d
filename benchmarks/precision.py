"""Row 14: the precision that `recipe=fast` chooses on a CPU, against the faster one of float32 and bf16-mixed.

    python benchmarks/precision.py

Steps of both run in turns, in processes of their own; the choice is made in each round again.
"""

import argparse
import contextlib
import statistics
import time
from typing import Final

import torch
from timing import Claim, Worker, arguments, interleaved, report, serve

from networks import Settings, step
from pkdn_lightning.hardware import bfloat16_gain, keep_freed_memory
from pkdn_lightning.train.autotune import WORTH_ROUNDING

TARGET: Final = 0.97
TARGET_S: Final = 0.2
VARIANTS: Final = {"float32": False, "bfloat16": True}


def work(name: str, options: argparse.Namespace) -> None:
    """Serves the step in one precision."""
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    once = step(Settings(channels_last=True, mixed=VARIANTS[name], batch=options.batch, width=options.width))
    serve(lambda: once() and None)


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures both precisions, and the choice."""
    keep_freed_memory()
    gains, seconds = [], []

    def choose() -> None:
        begin = time.process_time()
        gains.append(bfloat16_gain())
        seconds.append(time.process_time() - begin)

    told = ("--threads", str(options.threads), "--batch", str(options.batch), "--width", str(options.width))
    with contextlib.ExitStack() as processes:
        workers = {name: processes.enter_context(Worker(__file__, name, *told)) for name in VARIANTS}
        taken = interleaved({**workers, "choice": choose}, options.rounds)
    shares = []
    for full, mixed, gain in zip(taken["float32"], taken["bfloat16"], gains[1:], strict=True):
        shares.append(min(full, mixed) / (mixed if gain > WORTH_ROUNDING else full))
    against = ", ".join(f"{name} {min(taken[name]):.2f} CPU s" for name in VARIANTS)
    note = f"a convolution is {min(gains):.2f} to {max(gains):.2f} times as fast in bfloat16 as in float32"
    share, took = statistics.median(shares), statistics.median(seconds)
    return [
        Claim("14", "speed in the chosen precision", against, share, min(shares), max(shares), TARGET, note=note),
        Claim("14", "the choice", "CPU time", took, min(seconds), max(seconds), TARGET_S, "s", at_most=True),
    ]


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
