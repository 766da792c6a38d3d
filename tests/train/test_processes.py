"""Training in several processes: they share the data, agree on the weights, and measure every face once."""

import json
import subprocess
import sys

import pytest

from pkdn_lightning.data.store import FaceStore
from tests.conftest import TINY

pytestmark = pytest.mark.slow


def test_two_processes_train_one_model(store: FaceStore, tmp_path):
    def run(name: str, *overrides: str) -> dict:
        with_wandb = [each for each in TINY if each != "logger=csv"]
        command = [sys.executable, "-m", "pkdn_lightning.train", "experiment=student_celeba", *with_wandb]
        command += ["objective=reconstruction", f"data.store={store.path}", f"run_dir={tmp_path / name}", *overrides]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads((tmp_path / name / "results.json").read_text())

    two = run("two", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2")
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
