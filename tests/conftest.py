"""Small stores, small networks, finished trainings, and a quiet place to run in."""

import gc
import os
import shutil
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.data.portraits import Portrait, names, portrait
from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.prepare.store_writer import StoreWriter
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train import train
from tests.browser import _chromium, chromium_page  # noqa: F401  # fixtures for every test that opens a page

# Two threads on a busy machine are slower than one: here, and in the processes that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish():
    """Spares Python looking for garbage in all that is imported."""
    gc.set_threshold(10_000)
    gc.freeze()


COUNTS = {"train": 13, "val": 3, "test": 5}


@cache
def real_face(number: int, size_px: int = 128) -> Portrait:
    """Returns a portrait of the included training split; the first four are left out: glasses hide their eyes."""
    others = names("train")[4:]
    return portrait("train", others[number % len(others)], size_px)


def write_store(path: Path, *, with_parsing: bool = True, size_px: int = 32, counts: dict | None = None) -> FaceStore:
    """Writes a store of the first portraits."""
    splits = [split for split, count in (counts or COUNTS).items() for _ in range(count)]
    with StoreWriter(path, name=path.name, size_px=size_px, with_parsing=with_parsing) as writer:
        for number, split in enumerate(splits):
            face = real_face(number, size_px)
            writer.add(Entry(f"{number:03d}", split), face.hr, face.parsing if with_parsing else None)
        writer.finish()
    return FaceStore.open(path)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> FaceStore:
    """21 faces of 32 px with maps; read only."""
    return write_store(tmp_path_factory.mktemp("stores") / "faces")


@pytest.fixture(scope="session")
def bare_store(tmp_path_factory) -> FaceStore:
    """The same faces without maps; read only."""
    return write_store(tmp_path_factory.mktemp("stores") / "bare", with_parsing=False)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Every test works in a folder of its own, and no test reaches an account or a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


TINY = (
    "model.width=8",
    "model.levels=2",
    "model.rcabs_per_level=1",
    "data.scale=4",
    "data.batch_size=4",
    "data.name=faces",
    "logger=csv",
    "trainer=cpu",
    "trainer.enable_progress_bar=false",
    "trainer.max_epochs=-1",
    "trainer.max_steps=6",
    "trainer.log_every_n_steps=1",
    "trainer.check_val_every_n_epoch=null",
    "trainer.val_check_interval=3",
)
"""A training of six steps that takes a second or two."""


def compose_tiny(store: FaceStore, folder: Path, *overrides: str, run="run", experiment="student_celeba"):
    """Composes a six-step training on a small store."""
    places = [f"data.store={store.path}", f"run_dir={folder / run}", f"paths.runs={folder / 'runs'}"]
    return compose("train", [f"experiment={experiment}", *TINY, *places, *overrides])


@pytest.fixture
def tiny_config(store, tmp_path):
    """Returns a function that composes a six-step training on the small store."""
    return partial(compose_tiny, store, tmp_path)


@pytest.fixture(scope="session")
def trained_teacher(store, tmp_path_factory):
    """What the training of a teacher returns; read only."""
    return train(compose_tiny(store, tmp_path_factory.mktemp("teacher"), experiment="teacher_celeba"))


@pytest.fixture(scope="session")
def trained_student(store, tmp_path_factory):
    """What the training of a student without a teacher returns; read only."""
    return train(compose_tiny(store, tmp_path_factory.mktemp("student"), "objective=reconstruction"))


@pytest.fixture
def own_run(trained_student, tmp_path) -> RunFolder:
    """A copy of that student's run folder, to be changed."""
    return RunFolder(Path(shutil.copytree(trained_student.run.path, tmp_path / "run")))
