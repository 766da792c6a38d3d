"""Training in several processes: they share the data, agree on the weights, and measure every face once."""

import json
import shutil
import subprocess
import sys

import pytest

from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.train import train
from tests.conftest import TINY

pytestmark = pytest.mark.slow


def run_in_two(*overrides: str) -> str:
    """Trains the run `two` in two processes and returns what they print."""
    command = [sys.executable, "-m", "pkdn_lightning.train", "experiment=student_celeba", *TINY, "run_dir=two"]
    command += ["trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_two_processes_read_the_faces_of_one_teacher(store: FaceStore, tiny_config, tmp_path):
    teacher = train(tiny_config(experiment="teacher_celeba", run="teacher")).run
    own = shutil.copytree(store.path, tmp_path / "stores/faces")
    distilled = ("objective=distillation_image", f"teacher.checkpoint={teacher.path}", "teacher.cache=true")
    printed = run_in_two(f"data.store={own}", "data.flip_probability=0.5", *distilled)
    assert printed.count("Computing the teacher's 13 x 2 faces") == 1
    assert len(list(own.parent.glob("faces.teacher-*.npy"))) == 1
    assert json.loads((tmp_path / "two/results.json").read_text())["steps"] == 6


def test_two_processes_train_one_model(store: FaceStore, tmp_path):
    run_in_two("objective=reconstruction", f"data.store={store.path}", "logger=wandb")
    two = json.loads((tmp_path / "two/results.json").read_text())
    assert two["steps"] == 6
    assert len(list((tmp_path / "two/wandb").glob("offline-run-*"))) == 1  # one run, told by one process
    # Each of the five test faces is measured once, whatever the number of processes: one process alone agrees.
    from pkdn_lightning.config import compose
    from pkdn_lightning.evaluate import evaluate

    (tmp_path / "table").mkdir()
    places = [f"models.two={tmp_path / 'two'}", f"data.store={store.path}", f"run_dir={tmp_path / 'table'}"]
    cfg = compose("evaluate", [*places, "data.scale=4", "data.name=faces", "accelerator=cpu"])
    alone = evaluate(cfg).means["two"]
    for key in ("test/faces/psnr_y", "test/faces/ssim_y"):
        assert two["metrics"][key] == pytest.approx(alone[key], abs=1e-5)
