"""Rows 11 and 12: whole processes of `pkdn evaluate` and of a training of one step, against their indispensable parts.

    python benchmarks/verbs.py

For `evaluate` these are the imports and the networks' forward passes on the same faces; for `train` the imports with
Lightning, a step of teacher and student, and the forward passes of the validation before the first step. Seconds are
CPU seconds of the processes started.
"""

import argparse
import contextlib
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import torch
from startup import took
from timing import Claim, arguments, compared, interleaved, report

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.hardware import keep_freed_memory
from pkdn_lightning.models.checkpoints import load_model
from pkdn_lightning.prepare.store_writer import StoreWriter

EVALUATE, TRAIN = 1.3, 2.0
MODELS: Final = ("portraits_x8", "photos_x8", "default")
_TRAINING: Final = (
    "experiment=student_small",
    "data=portraits",
    "trainer.max_steps=1",
    "teacher.max_steps=1",
    "test=false",
)
_VALIDATED: Final = 2  # batches, before the first step


def make(folder: Path, count: int) -> FaceStore:
    """Returns a store of the included test portraits, repeated."""
    with StoreWriter(folder, name="portraits") as writer:
        for number, face in zip(range(count), cycle(portraits("test", 100)), strict=False):
            for split in ("train", "val", "test"):
                if split == "test" or number < 64:
                    writer.add(Entry(f"{split}{number:06d}", split), face.hr, face.parsing)
        writer.finish()
    return FaceStore.open(folder)


def forward(store: Path) -> None:
    """Restores the test faces with each model, as a worker."""
    keep_freed_memory()
    nets = [load_model(name).to(memory_format=torch.channels_last) for name in MODELS]  # type: ignore[call-overload]  # stub
    faces = len(FaceStore.open(store, verify=False).indices("test"))
    with torch.inference_mode():
        for part in torch.rand(faces, 3, 16, 16).split(32):
            for net in nets:
                net(part)


def steps() -> None:
    """Takes a step of teacher and student after forward passes of validation batches, as a worker."""
    import lightning.pytorch  # noqa: F401  # what a training cannot do without

    keep_freed_memory()
    cfg = compose("train", [*_TRAINING, "run_dir=run"])
    batch, validated = int(cfg.data.batch_size), int(cfg.data.eval_batch_size)
    nets = [build_network(cfg.teacher.model, "teacher.model"), build_network(cfg.model)]
    for net in nets:
        faces: Any = {"lr": torch.rand(validated, 3, 16, 16), "parsing": torch.rand(validated, 3, 128, 128)}
        with torch.no_grad():
            for _ in range(_VALIDATED):
                net(*net.inputs(faces))
        few: Any = {name: each[:batch] for name, each in faces.items()}
        net(*net.inputs(few)).sr.abs().mean().backward()
    with torch.no_grad():
        nets[0](*nets[0].inputs(few))  # the teacher of the student's step


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures both verbs and what they are compared with."""
    threads = f"threads={options.threads}"
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        store = make(Path(place) / "store", options.faces)
        models = [f"models.m{number}={name}" for number, name in enumerate(MODELS)]
        script = str(Path(__file__).resolve())
        count = iter(range(10**6))

        def verb(name: str, *told: str) -> float:
            run = Path(place) / f"{name}{next(count)}"
            seconds = took(["-m", f"pkdn_lightning.{name}", *told, threads, f"run_dir={run}", f"paths.runs={run}s"])
            if not (run / "results.json").is_file():
                raise RuntimeError(f"pkdn {name} {' '.join(told)} failed.")
            return seconds

        def worker(*told: str) -> float:
            return took([script, "--threads", str(options.threads), "--worker", *told])

        taken = interleaved(
            {
                "forward": lambda: worker("forward", str(store.path)),
                "evaluate": lambda: verb(
                    "evaluate", "data=portraits", f"data.test_stores.portraits={store.path}", *models
                ),
                "steps": lambda: worker("steps"),
                "train": lambda: verb("train", *_TRAINING, f"data.store={store.path}"),
            },
            options.rounds,
        )

    def claim(row: str, what: str, ours: str, bare: str, against: str, target: float) -> Claim:
        over = min(taken[ours]) - min(taken[bare])
        note = f"{min(taken[ours]):.1f} CPU s, {over:.1f} more than {min(taken[bare]):.1f}"
        return Claim(row, what, against, *compared(taken[ours], taken[bare]), target, at_most=True, note=note)

    faces = f"pkdn evaluate, {options.faces} faces, {len(MODELS)} models"
    return [
        claim("11", faces, "evaluate", "forward", "importing torch, forward passes", EVALUATE),
        claim("12", "a training of one step, teacher and student", "train", "steps", "imports, two steps", TRAIN),
    ]


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--faces", type=int, default=1000)
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.worker:
        forward(Path(chosen.worker[1])) if chosen.worker[0] == "forward" else steps()
    else:
        report(claims(chosen), chosen)
