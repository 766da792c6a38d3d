"""Rows 3, 4 and 6 on a GPU: trainings of the suite with full-size PKDN, beside the least time a step can take.

    python benchmarks/gpu.py --rows rows.jsonl
    python benchmarks/gpu.py --device cpu --tiny          tries the code out without a GPU

Each case is a short run of the verb `train`, timed by a callback between synchronisations. Its row is appended to the
file as soon as it is measured; a case that fails or exceeds its time limit costs no other case. The floor of a step is
its operations (the teacher's, and three times the student's) at the rate of a bfloat16 matrix product measured here.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

import lightning.pytorch as lightning
import torch
from limits import TimeIsUp, limited
from timing import Claim, add_row, arguments, environment, peak_flops, report, synchronize, timed

from pkdn_lightning.config import compose
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import Entry
from pkdn_lightning.hardware import set_up
from pkdn_lightning.networks.cost import count_macs
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher
from pkdn_lightning.prepare.store_writer import StoreWriter
from pkdn_lightning.train import train, training_run

SPEED, SHARE, WAIT, MEMORY, TIME = 8.0, 35.0, 2.0, 0.6, 1.35
WARM, PARTS = 5, 3  # steps before the clock starts, and parts in which it measures
_FLOAT32: Final = (
    "trainer.precision=32-true", "tuned=false", "module.channels_last=false", "module.compile=false",
    "trainer.benchmark=false", "data.resident=false",
)  # fmt: skip
_MIXED: Final = ("trainer.precision=bf16-mixed", "data.resident=false")
_BF16: Final = (*_MIXED, "module.compile=false")


class Case(NamedTuple):
    """A training to be timed.

    Attributes:
        name: Its name in the table.
        batch: Faces per step.
        overrides: Of the configuration; `recipe=fast` chooses the rest.
        full: In float32 without TF32.
        ready: Every step takes the same batch, which is on the device already.
        limit_s: Time limit, compilation included.
    """

    name: str
    batch: int
    overrides: tuple[str, ...]
    full: bool = False
    ready: bool = False
    limit_s: float = 40.0


BASE: Final = "float32, batch 8"
CASES: Final = (
    Case(BASE, 8, _FLOAT32, full=True),
    Case("bf16, batch 8", 8, _BF16),
    Case("bf16, batch 256", 256, _BF16),
    Case("bf16, batch 256, on the device", 256, (*_BF16, "data.resident=true"), ready=True),
    Case("bf16, batch 256, resident store", 256, (*_BF16, "data.resident=true")),
    Case("bf16, batch 64", 64, _BF16),
    Case("bf16, batch 64, recomputing", 64, (*_BF16, "module.recompute=true")),
    Case("bf16, batch 8, CUDA graphs", 8, (*_MIXED, "module.compile=graphs"), limit_s=90),
    Case("bf16, batch 256, compiled", 256, (*_MIXED, "module.compile=true"), limit_s=150),
)
"""In the order of what they tell and cost."""


class Clock(lightning.Callback):
    """Times the steps of a training, and stops it.

    Attributes:
        seconds: Seconds of each part.
        first_s: Seconds of the first step, with what is compiled or searched then.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        self.part, self.device = steps // PARTS, device
        self.seconds: list[float] = []
        self.first_s = self._begun = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self._begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == 1 or (step >= WARM and (step - WARM) % self.part == 0):
            synchronize(self.device)
            now = time.perf_counter()
            if step == 1:
                self.first_s = now - self._begun
            if step > WARM:
                self.seconds.append(now - self._begun)
            elif step == WARM and self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()  # what was tried out before needs more
            self._begun = now


class Bench:
    """What all cases share.

    Args:
        options: See `parser`.
        folder: Where stores and runs are made.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.device = options, folder, torch.device(options.device)
        self.ends = time.monotonic() + options.seconds
        self.cases = [each._replace(batch=max(1, each.batch // 64)) for each in CASES] if options.tiny else list(CASES)
        if options.device == "cpu":  # compilation for a CPU is another matter
            self.cases = [each for each in self.cases if "module.compile=false" in each.overrides]
        self.width = 4 if options.tiny else 64
        lr, parsing = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128)
        with torch.no_grad():
            teacher = count_macs(PKDNTeacher(width=self.width), lr, parsing)
            self.flops = 2 * (teacher + 3 * count_macs(PKDNStudent(width=self.width), lr))
        self.rates: dict[str, list[float]] = {}
        self.memory_mb: dict[str, float] = {}

    def steps(self, case: Case) -> int:
        """Returns the timed steps of a case, a multiple of `PARTS`."""
        return PARTS if self.options.tiny else PARTS * max(3, 96 // case.batch)

    def row(self, **values: Any) -> None:
        """Prints a row and appends it to the file."""
        print(add_row(self.options.rows, stage="bench", **values), flush=True)

    def prepare(self) -> None:
        """Measures the ceilings of the device, and makes store and teacher."""
        side, count = (256, 2**20) if self.options.tiny else (8192, 2**30)
        self.peak = peak_flops(self.device, torch.bfloat16, side)
        source, target = torch.rand(count // 4, device=self.device), torch.empty(count // 4, device=self.device)
        copy = timed(lambda: target.copy_(source), 5, self.device)
        copy()
        self.row(what=f"bfloat16 matrix product of side {side}", value=round(self.peak / 1e12, 2), unit="TFLOP/s")
        self.row(what="copy, bytes read and written", value=round(2 * count / copy() / 1e12, 3), unit="TB/s")
        self.row(what="operations per face and step", value=round(self.flops / 1e9, 1), unit="GFLOP")
        faces = max(each.batch * (self.steps(each) + WARM) for each in self.cases)
        with StoreWriter(self.folder / "store", name="portraits") as writer:
            for number, face in zip(range(faces), cycle(portraits("train", 256)), strict=False):
                writer.add(Entry(f"{number:06d}", "train"), face.hr, face.parsing)
            writer.add(Entry("val", "val"), face.hr, face.parsing)
            writer.finish()
        train(self._config("teacher", "teacher", "trainer.max_steps=1", "data.batch_size=1", *_BF16))

    def _config(self, experiment: str, run: str, *overrides: str) -> Any:
        small = ["model.width=4"] if self.options.tiny else []
        return compose("train", [
            f"experiment={experiment}", "data=portraits", "recipe=fast", f"data.store={self.folder / 'store'}",
            f"run_dir={self.folder / run}", f"paths.runs={self.folder}", "logger=csv", "test=false",
            f"trainer={'cpu' if self.options.device == 'cpu' else 'gpu'}", "trainer.enable_progress_bar=false",
            "trainer.num_sanity_val_steps=0", "trainer.limit_val_batches=0", "callbacks.grid=null",
            "callbacks.best=null", *small, *overrides,
        ])  # fmt: skip

    def measure(self, number: int, case: Case) -> None:
        """Times a case, and writes its row, or why there is none."""
        try:
            with limited(min(case.limit_s, self.ends - time.monotonic())):
                clock = self._timed(number, case)
        except (Exception, TimeIsUp) as error:
            self.row(what=case.name, error=f"{type(error).__name__}: {error}"[:300])
            return
        finally:
            self._clean_up()
        rates = self.rates[case.name] = [case.batch * clock.part / seconds for seconds in clock.seconds]
        rate, low, high = _spread(rates)
        self.row(
            what=case.name, batch=case.batch, value=round(rate, 2), low=round(low, 2), high=round(high, 2),
            unit="faces/s", ms_per_face=round(1e3 / rate, 4), floor_ms_per_face=round(1e3 * self.flops / self.peak, 4),
            over_floor=round(self.peak / self.flops / rate, 2), share_of_peak=round(rate * self.flops / self.peak, 4),
            over_first=round(rate / statistics.median(next(iter(self.rates.values()))), 2),
            first_step_s=round(clock.first_s, 2), memory_mb=round(self.memory_mb[case.name]),
        )  # fmt: skip

    def _timed(self, number: int, case: Case) -> Clock:
        steps, build = self.steps(case), training_run.build_trainer
        clock = Clock(steps, self.device)

        def build_with_clock(*parts: Any) -> lightning.Trainer:
            trainer = build(*parts)
            trainer.callbacks.append(clock)  # type: ignore[attr-defined]  # set by a connector
            return trainer

        with ExitStack() as patches:
            patches.enter_context(mock.patch.object(training_run, "build_trainer", build_with_clock))
            if case.full:
                full = lambda **options: set_up(**{**options, "tf32": False})  # noqa: E731
                patches.enter_context(mock.patch.object(training_run, "set_up", full))
            if case.ready:
                patches.enter_context(mock.patch.object(FaceSRDataModule, "on_after_batch_transfer", _first_batch()))
            length = (f"data.batch_size={case.batch}", f"trainer.max_steps={WARM + steps}")
            teacher = f"teacher.checkpoint={self.folder / 'teacher'}"
            own = ("callbacks.last=null", "trainer.log_every_n_steps=50", *length, *case.overrides)
            train(self._config("student", f"case_{number}", teacher, *own))
        self.memory_mb[case.name] = torch.cuda.max_memory_allocated() / 1e6 if self.device.type == "cuda" else 0.0
        return clock

    def _clean_up(self) -> None:
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()

    def claims(self) -> list[Claim]:
        """Returns what was measured beside its target, as far as the cases were reached."""
        share = 100 * self.flops / self.peak
        large, middle, ready = "bf16, batch 256", "bf16, batch 64", "bf16, batch 256, on the device"
        recomputing = f"{middle}, recomputing"
        made = [
            *(self._claim("3", name, BASE, lambda rate, base: rate / base, SPEED)
              for name in self.rates if name != BASE),
            *(self._claim("3", f"share of the matrix peak: {name}", name, lambda rate, _: rate * share, SHARE, "%")
              for name in self.rates if large in name),
            *(self._claim("4", f"share of a step for data: {name}", ready, lambda rate, base: 100 * (1 - rate / base),
                          WAIT, "%", at_most=True) for name in (large, f"{large}, resident store")),
            self._claim("6", f"time of a step: {recomputing}", middle, lambda rate, base: base / rate, TIME,
                        at_most=True),
        ]  # fmt: skip
        if self.memory_mb.get(middle) and (kept := self.memory_mb.get(recomputing)):
            part = kept / self.memory_mb[middle]
            made.append(Claim("6", f"memory of a step: {recomputing}", middle, part, part, part, MEMORY, at_most=True))
        return [each for each in made if each]

    def _claim(
        self, row: str, what: str, base: str, form: Callable[[float, float], float], target: float, unit: str = "x", *,
        at_most: bool = False,
    ) -> Claim | None:  # fmt: skip
        """Returns the rates of the case that `what` ends with, in a form that may compare them with another case's."""
        name = what.split(": ")[-1]
        if name not in self.rates or base not in self.rates:
            return None
        middle = statistics.median(self.rates[base])
        values = _spread([form(rate, middle) for rate in self.rates[name]])
        return Claim(row, what, base, *values, target, unit, at_most=at_most)


def _spread(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def _first_batch() -> Any:
    """Returns a replacement of `on_after_batch_transfer` that prepares the first batch only."""
    kept: list[Mapping[str, Any]] = []
    prepare = FaceSRDataModule.on_after_batch_transfer

    def first(self: FaceSRDataModule, batch: Mapping[str, Any], dataloader_idx: int) -> Any:
        if not kept:
            kept.append(prepare(self, batch, dataloader_idx))
        return kept[0]

    return first


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures all cases, or says why not."""
    if options.device == "cuda" and not torch.cuda.is_available():
        print("The rows of a GPU are left out: there is no CUDA device here.")
        return []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        bench.row(what="environment", **environment())
        bench.prepare()
        for number, case in enumerate(bench.cases):
            if time.monotonic() < bench.ends:
                bench.measure(number, case)
        return bench.claims()


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options.add_argument("--rows", type=Path, default=Path("gpu_rows.jsonl"), help="the file to append rows to")
    options.add_argument("--seconds", type=float, default=900, help="no case begins later")
    options.add_argument("--tiny", action="store_true", help="small networks and batches, to try it out")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    if chosen.device == "cpu":
        torch.set_num_threads(chosen.threads)
    report(claims(chosen), chosen, "gpu")
