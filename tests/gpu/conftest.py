"""The device of these tests: CUDA, or what PKDN_GPU_TESTS_DEVICE names, to try them out without one.

With PKDN_GPU_TESTS_ROWS=<file>, the outcome of each test is appended there as it comes.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from pkdn_lightning.config import compose
from tests.conftest import write_store

DEVICE = os.environ.get("PKDN_GPU_TESTS_DEVICE", "cuda")
ROWS = None if "PYTEST_XDIST_WORKER" in os.environ else os.environ.get("PKDN_GPU_TESTS_ROWS")  # the first one writes


def pytest_runtest_logreport(report):
    if ROWS and (report.when == "call" or report.outcome != "passed"):
        row = {"stage": "test", "what": report.nodeid, "value": report.outcome, "seconds": round(report.duration, 2)}
        if report.outcome != "passed":
            row["why"] = str(report.longrepr)[-600:]
        with Path(ROWS).open("a") as file:
            file.write(json.dumps(row) + "\n")


@pytest.fixture(scope="session")
def device() -> torch.device:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; there is none here")
    return torch.device(DEVICE)


@pytest.fixture(scope="session")
def accelerator(device) -> str:
    return "gpu" if device.type == "cuda" else "cpu"


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """Faces of 64 px with maps, which every network and discriminator takes."""
    counts = {"train": 12, "val": 2, "test": 3}
    return write_store(tmp_path_factory.mktemp("stores") / "faces", size_px=64, counts=counts)


SMALL = (
    "size=reduced", "data.name=faces", "data.batch_size=4", "data.flip_probability=0.5", "logger=csv",
    "trainer.enable_progress_bar=false", "trainer.devices=1", "trainer.max_epochs=-1", "trainer.max_steps=6",
    "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=3", "trainer.num_sanity_val_steps=0",
    "trainer.precision=32-true", "callbacks.grid=null",
)  # fmt: skip
PKDN = {
    "teacher": ("model.width=8", "model.levels=2"),
    "student": (
        "model.width=8", "model.levels=2", "model.rcabs_per_level=1", "teacher.model.width=8", "teacher.model.levels=2",
        "teacher.max_steps=1",
    ),
}  # fmt: skip
"""Smaller still."""


@pytest.fixture
def small(faces, tmp_path, accelerator):
    """Returns a function that composes a training of six steps of a small network on the device."""

    def make(experiment: str, *overrides: str, run: str = "run"):
        places = [f"data.store={faces.path}", f"run_dir={tmp_path / run}", f"paths.runs={tmp_path / 'runs'}"]
        overrides = (*PKDN.get(experiment, ()), *overrides, f"trainer.accelerator={accelerator}")
        return compose("train", [f"experiment={experiment}", *SMALL, *places, *overrides])

    return make
