"""Row 8: what grows with the work: memory and loader time with the faces of a store, faces a second with processes.

    python benchmarks/growth.py                                   stores of 1,000 to 200,000 faces of 16 px
    python benchmarks/growth.py --processes 1 2                   and DDP over gloo; wants that many free cores

Memory is what the process itself holds (anonymous pages); mapped pages of a store are the system's to take back.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import Claim, arguments, report
from torch.multiprocessing import spawn

from networks import Settings, step
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.store import Entry
from pkdn_lightning.prepare.store_writer import StoreWriter

MEMORY, STEP, PROCESSES = 1.2, 1.2, 1.8
_BATCHES = 200


def write_store(path: Path, count: int) -> None:
    """Writes faces of noise."""
    noise = np.random.default_rng(0)
    with StoreWriter(path, name="noise", size_px=16) as writer:
        for number in range(count):
            writer.add(
                Entry(f"{number:06d}", "train"),
                noise.integers(0, 256, (16, 16, 3), dtype=np.uint8),
                noise.integers(0, 19, (16, 16), dtype=np.uint8),
            )
            if number % 1024 == 1023:
                writer.commit()
        writer.finish()


def loading(path: str) -> None:
    """Prints the anonymous memory in MB and the CPU milliseconds a batch that serving a store takes."""
    torch.set_num_threads(1)  # threads that wait for each other count as work
    data = FaceSRDataModule(path, scale=8, batch_size=8, verify=False)
    batches = iter(data.train_dataloader())
    begin, served = time.process_time(), 0
    for raw in batches:
        data.on_after_batch_transfer(raw, 0)
        served += 1
        if served == _BATCHES:
            break
    each = (time.process_time() - begin) / served * 1e3
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    held = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    print(held / 1024, each)


def growing_stores(counts: list[int], rounds: int) -> list[Claim]:
    """Measures stores of several sizes in turns, each time in a fresh process."""
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            write_store(Path(place, str(count)), count)
        for _ in range(rounds):
            for count in counts:
                command = [sys.executable, __file__, "--worker", str(Path(place, str(count)))]
                answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                found[count].append((float(answer[0]), float(answer[1])))
    least, most = min(counts), max(counts)
    made = []
    for place_, what, bound in ((0, "memory of serving a store", MEMORY), (1, "time of a batch", STEP)):
        ratios = [b[place_] / a[place_] for a, b in zip(found[least], found[most], strict=True)]
        unit = ("MB", "ms")[place_]
        told = ", ".join(
            f"{count:,}: {statistics.median(v[place_] for v in found[count]):.4g} {unit}" for count in counts
        )
        made.append(
            Claim("8", f"{what}, {most:,} faces", f"{least:,} faces", statistics.median(ratios), min(ratios),
                  max(ratios), bound, at_most=True, note=told)
        )  # fmt: skip
    return made


def growing_preparation(counts: list[int]) -> list[Claim]:
    """Measures the peak memory of preparing stores of several sizes, each once in a fresh process."""
    script = str(Path(__file__).with_name("preparation.py"))
    found = {}
    for count in counts:
        command = [sys.executable, script, "--peak", str(count)]
        found[count] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    least, most = min(counts), max(counts)
    ratio = found[most] / found[least]
    told = ", ".join(f"{count:,}: {peak:.0f} MB" for count, peak in found.items())
    return [Claim("8", f"peak memory of preparing {most:,} photographs", f"{least:,}", ratio, ratio, ratio, MEMORY,
                  at_most=True, note=told)]  # fmt: skip


def _process(rank: int, world: int, options: argparse.Namespace, answer: Any) -> None:
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(options.port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    once = step(Settings(batch=options.batch, width=options.width, parallel=world > 1))
    once()
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(options.rounds):
        once()
    dist.barrier()
    answer[rank] = options.rounds * options.batch / (time.perf_counter() - begin)
    dist.destroy_process_group()


def growing_processes(options: argparse.Namespace) -> list[Claim]:
    """Measures faces a second (wall) with several processes, each with the same batch."""
    rates: dict[int, float] = {}
    for world in options.processes:
        answer = torch.zeros(world).share_memory_()
        spawn(_process, args=(world, options, answer), nprocs=world)
        rates[world] = float(answer.sum())
    first, last = min(rates), max(rates)
    ratio = rates[last] / rates[first]
    load = os.getloadavg()[0] - last
    note = (
        f"wall: {', '.join(f'{world}: {rate:.2f} faces/s' for world, rate in rates.items())}; others' load {load:.1f}"
    )
    return [Claim("8", f"DDP over gloo, {last} processes", f"{first} process", ratio, ratio, ratio, PROCESSES * last / 2, note=note)]  # fmt: skip  # noqa: E501


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures stores, and processes where asked to."""
    made = growing_stores(options.faces, options.rounds) + growing_preparation(options.prepared)
    return made + (growing_processes(options) if options.processes else [])


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--faces", type=int, nargs="+", default=[1_000, 10_000, 200_000])
    options.add_argument("--prepared", type=int, nargs="+", default=[2_000, 20_000], help="photographs to prepare")
    options.add_argument("--processes", type=int, nargs="+", default=[], metavar="COUNT")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--width", type=int, default=64, help="of both networks")
    options.add_argument("--port", type=int, default=29431)
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    if chosen.worker:
        loading(chosen.worker[0])
    else:
        torch.set_num_threads(chosen.threads)
        report(claims(chosen), chosen)
