"""Rows 3, 4 and 6 on a GPU: the distillation step as `recipe=fast` runs it, waiting for data, recomputation.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --batch 2 --width 8 --steps 2      tries the code out without one

Ratios are of wall time between synchronisations, in turns. The share of the peak is counted against a bfloat16 matrix
product measured here; `--trace FOLDER` leaves a profile that shows what stands in the way.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import memory
import torch
from loader import make
from timing import Claim, arguments, compared, interleaved, peak_flops, report, synchronize, timed
from torch import Tensor

from networks import Settings, step
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.networks.cost import count_macs
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher

SPEED, SHARE, WAIT = 8.0, 35.0, 2.0


def step_macs(options: argparse.Namespace) -> int:
    """Returns multiply-accumulates of a step for one face: the teacher's, and three times the student's."""
    lr, parsing = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        student = count_macs(PKDNStudent(width=options.width), lr)
        return count_macs(PKDNTeacher(width=options.width), lr, parsing) + 3 * student


def speed(options: argparse.Namespace) -> list[Claim]:
    """Row 3: eager float32 without TF32, against what recipe=fast chooses; at the small and the large batch."""
    device = torch.device(options.device)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    common = {"device": options.device, "width": options.width}
    tuned = {"mixed": True, "channels_last": True, "fused": True, "compiled": options.compile, **common}
    plain = step(Settings(batch=options.batch, **common))
    fast = step(Settings(batch=options.batch, **tuned))
    large = step(Settings(batch=options.large, **tuned))
    work = {"plain": plain, "fast": fast, "large": large}
    taken = interleaved({name: timed(once, options.steps, device) for name, once in work.items()}, options.rounds)
    if options.trace:
        trace(large, Path(options.trace), device)
    macs, peak = step_macs(options), peak_flops(device, torch.bfloat16, options.side)
    shares = [100 * 2 * macs * options.large / each / peak for each in taken["large"]]
    rate = options.batch / statistics.median(taken["fast"])
    against = f"float32 without TF32, eager, batch {options.batch}"
    per_face = [each / options.large * options.batch for each in taken["large"]]
    return [
        Claim("3", f"tuned step, batch {options.batch}", against, *compared(taken["plain"], taken["fast"]), SPEED,
              note=f"{rate:,.0f} faces/s"),
        Claim("3", f"tuned step, batch {options.large}, per face", against, *compared(taken["plain"], per_face), SPEED),
        Claim("3", f"share of the matrix peak, batch {options.large}", f"{peak / 1e12:.1f} Tflop/s measured",
              statistics.median(shares), min(shares), max(shares), SHARE, "%"),
    ]  # fmt: skip


def waiting(options: argparse.Namespace) -> list[Claim]:
    """Row 4: a step with batches from a store, against the same step on one batch that is there already."""
    device = torch.device(options.device)
    settings = Settings(batch=options.large, device=options.device, width=options.width, mixed=True, channels_last=True)
    once = step(settings)
    made = []
    with tempfile.TemporaryDirectory() as place:
        _, store = make(Path(place), options.large * 2)
        for resident in (False, True):
            data = FaceSRDataModule(store.path, batch_size=options.large, resident=resident)
            endless = _endless(data, device)

            def served(endless: Iterator[object] = endless) -> Tensor:
                next(endless)
                return once()

            taken = interleaved(
                {"alone": timed(once, options.steps, device), "served": timed(served, options.steps, device)},
                options.rounds,
            )
            shares = [100 * (1 - a / b) for a, b in zip(taken["alone"], taken["served"], strict=True)]
            what = f"share of a step for data, batch {options.large}, data.resident={str(resident).lower()}"
            made.append(
                Claim("4", what, "-", statistics.median(shares), min(shares), max(shares), WAIT, "%", at_most=True)
            )
    return made


def _endless(data: FaceSRDataModule, device: torch.device) -> Iterator[object]:
    while True:
        for raw in data.train_dataloader():
            moved = {name: tensor.to(device, non_blocking=True) for name, tensor in raw.items()}
            yield data.on_after_batch_transfer(moved, 0)


def trace(once: Callable[[], object], folder: Path, device: torch.device) -> None:
    """Leaves a trace of two steps, and the table of the costliest operations."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.profiler.profile() as profile:
        once()
        once()
        synchronize(device)
    profile.export_chrome_trace(str(folder / "step.json"))
    by = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    (folder / "step.txt").write_text(profile.key_averages().table(sort_by=by, row_limit=30), encoding="utf-8")


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures all rows, or says why not."""
    if options.device == "cuda" and not torch.cuda.is_available():
        print("Rows 3 and 4 are left out: there is no CUDA device here.")
        return []
    told = f"--device {options.device} --batch {options.memory_batch} --width {options.width} --rounds 2"
    recomputed = memory.parser().parse_args(told.split())
    return speed(options) + waiting(options) + memory.claims(recomputed)


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--device", default="cuda")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--large", type=int, default=256, help="the batch that fills a GPU")
    options.add_argument("--memory-batch", type=int, default=64)
    options.add_argument("--steps", type=int, default=10, help="between two synchronisations")
    options.add_argument("--side", type=int, default=8192, help="of the matrices that measure the peak")
    options.add_argument("--width", type=int, default=64, help="of both networks")
    options.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options.add_argument("--trace", metavar="FOLDER", help="leave a profile there")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    report(claims(chosen), chosen, "gpu")
