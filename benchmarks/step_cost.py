"""Row 13: what a step of the suite costs beside its network, against a plain PyTorch loop.

    python benchmarks/step_cost.py

Both train the same tiny network with the same optimiser and clipping, in one process. The plain loop has one batch,
ready on the device; the suite reads its batches, logs, and calls its callbacks. Beside it: how long a training of the
small student takes before its first step, once everything is imported: composition, store, networks, and the validation
batches that Lightning tries.
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from unittest import mock

import lightning.pytorch as lightning
import torch
from omegaconf import DictConfig
from timing import Claim, arguments, interleaved, report

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.prepare.pipeline import ensure_store
from pkdn_lightning.train import training_run
from pkdn_lightning.train.build import build_callbacks, build_datamodule

TARGET_MS, TARGET_S = 2.0, 3.0
_WARM: Final = 20
_USUAL: Final = (
    "experiment=student_small", "objective=reconstruction", "data=portraits", "data.source.train=64",
    "data.source.val=8", "data.source.test=8", "test=false", "logger=csv",
)  # fmt: skip
_SETTINGS: Final = (
    *_USUAL, "data.batch_size=1", "model.width=4", "model.levels=1",
    "model.rcabs_per_level=[0,0,0]", "trainer.accelerator=cpu", "trainer.precision=32-true",
    "trainer.num_sanity_val_steps=0", "trainer.val_check_interval=1000000", "trainer.check_val_every_n_epoch=null",
)  # fmt: skip


def configured(store: Path, run: Path, steps: int) -> DictConfig:
    """Returns the configuration of a training of some steps."""
    return compose("train", [*_SETTINGS, f"data.store={store}", f"trainer.max_steps={steps}", f"run_dir={run / 'run'}"])


class _Clock(lightning.Callback):
    """Adds up the CPU seconds of the steps after the first ones."""

    def __init__(self) -> None:
        self.seconds = self.first = 0.0

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Starts the clock."""
        self.first = self.first or time.process_time()
        if trainer.global_step == _WARM:
            self.seconds = -time.process_time()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Stops it."""
        self.seconds += time.process_time()


def suite(store: Path, steps: int) -> float:
    """Returns the CPU milliseconds of a step of the suite."""
    with tempfile.TemporaryDirectory() as place:
        return _trained(configured(store, Path(place), steps + _WARM)).seconds / steps * 1000


def before(store: Path) -> float:
    """Returns the CPU seconds of a training before its first step."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        told = [*_USUAL, f"data.store={store}", "trainer.max_steps=1", f"run_dir={Path(place) / 'run'}"]
        return _trained(compose("train", told)).first - begun


def _trained(cfg: DictConfig) -> _Clock:
    clock = _Clock()
    with (
        mock.patch.object(training_run, "build_callbacks", lambda *given: [*build_callbacks(*given), clock]),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        training_run.run_training(cfg)
    return clock


def bare(store: Path, steps: int) -> float:
    """Returns the CPU milliseconds of a step of a plain loop."""
    cfg = configured(store, store, steps)
    net = build_network(cfg.model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
    optimizer = torch.optim.Adam(net.parameters(), lr=cfg.optimizer.lr, fused=True)
    batch = build_datamodule(cfg.data, seed=0, require_parsing=False).preview("train", cfg.data.batch_size)
    seconds = 0.0
    for step in range(steps + _WARM):
        if step == _WARM:
            seconds = -time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(net(batch["lr"]).sr, batch["hr"]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    return (seconds + time.process_time()) / steps * 1000


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures both loops in turns."""
    with tempfile.TemporaryDirectory() as place:
        store = Path(place) / "store"
        ensure_store(configured(store, Path(place), 1).data)
        taken = interleaved(
            {"bare": lambda: bare(store, options.steps), "suite": lambda: suite(store, options.steps)}, options.rounds
        )
        first = [before(store) for _ in range(options.rounds)]
    more = [ours - plain for plain, ours in zip(taken["bare"], taken["suite"], strict=True)]
    against = f"a plain PyTorch loop: {min(taken['bare']):.2f} ms"
    note = f"the suite's: {min(taken['suite']):.2f} ms, with its data, logging and callbacks"
    middle = statistics.median(more)
    what = "CPU time a step beside its network"
    start = (statistics.median(first), min(first), max(first))
    return [
        Claim("13", what, against, middle, min(more), max(more), TARGET_MS, "ms", at_most=True, note=note),
        Claim("13", "CPU time before the first step, imports excluded", "-", *start, TARGET_S, "s", at_most=True),
    ]


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--steps", type=int, default=200)
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    report(claims(chosen), chosen)
