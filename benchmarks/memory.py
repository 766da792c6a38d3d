"""Row 6: memory and time of a distillation step with `module.recompute=true`, against keeping everything.

    python benchmarks/memory.py                  (batch 64 takes 6 GB and a minute a step; --batch 16 32 64 compares)

On a CPU memory is the growth of the process's peak from before the first step; on a GPU the peak that CUDA allocated.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from timing import Claim, Worker, arguments, compared, report, serve

from networks import Settings, step

MEMORY, TIME = 0.6, 1.35


def work(name: str, options: argparse.Namespace) -> None:
    """Serves a step with or without recomputation; tells its seconds and the peak so far, in MB."""
    torch.set_num_threads(options.threads)
    gpu = options.device != "cpu"
    tuned = {"mixed": not options.float32, "channels_last": True, "fused": True}
    settings = Settings(batch=options.batch[0], device=options.device, width=options.width, **tuned)  # type: ignore[arg-type]
    once = step(Settings(**{**vars(settings), "recompute": name == "recompute"}))
    before = _peak_kib()

    def measured() -> dict[str, float]:
        clock = time.perf_counter if gpu else time.process_time
        begin = clock()
        once()
        if gpu:
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() / 1e6
        else:
            peak = max(1, _peak_kib() - before) / 1024
        return {"seconds": clock() - begin, "peak_mb": peak}

    serve(measured)


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()  # getrusage tells a parent's peak, too
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures memory and time at each size of batch."""
    return [claim for batch in options.batch for claim in _claims(batch, options)]


def _claims(batch: int, options: argparse.Namespace) -> list[Claim]:
    told = ("--threads", str(options.threads), "--batch", str(batch), "--width", str(options.width))
    told += ("--device", options.device, *(("--float32",) if options.float32 else ()))
    names = ("keep", "recompute")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    peak: dict[str, float] = {}
    for _ in range(options.rounds):
        for name in names:  # a process at a time, because both together need more memory than most machines have
            with Worker(__file__, name, *told) as worker:
                worker.ask()  # warms up
                answer: Any = worker.ask()
            peak[name] = answer["peak_mb"]
            seconds[name].append(answer["seconds"])
    slower = compared(seconds["recompute"], seconds["keep"])
    share = peak["recompute"] / peak["keep"]
    precision = "float32" if options.float32 else "bf16-mixed"
    what = f"module.recompute=true, batch {batch}, {precision}"
    note = f"{peak['recompute']:,.0f} MB, else {peak['keep']:,.0f} MB"
    cost = f"{statistics.median(seconds['recompute']):.2f} s, else {statistics.median(seconds['keep']):.2f} s"
    return [
        Claim("6", f"memory of a step: {what}", "the same step", share, share, share, MEMORY, at_most=True, note=note),
        Claim("6", f"time of a step: {what}", "the same step", *slower, TIME, at_most=True, note=cost),
    ]


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--batch", type=int, nargs="+", default=[64])
    options.add_argument("--width", type=int, default=64, help="of both networks")
    options.add_argument("--device", default="cpu", help="cpu or cuda")
    options.add_argument("--float32", action="store_true", help="instead of bf16-mixed")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    if chosen.worker:
        work(chosen.worker[0], chosen)
    else:
        torch.set_num_threads(chosen.threads)
        report(claims(chosen), chosen, "gpu" if chosen.device != "cpu" else "cpu")
