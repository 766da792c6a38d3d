"""What is killed and started again ends as if it had never been killed, file by file.

The campaign (`make test-slow`) kills 60 times; `PKDN_KILLS=600` kills more often.
"""

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

import pkdn_lightning.train.training_run  # noqa: F401  # before the first fork
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.runs import RunFolder
from tests.conftest import TINY, write_store
from tests.robustness.equality import assert_equal_folders
from tests.robustness.killing import Outcome, pkdn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

_COMMON = (
    *TINY[3:],
    "threads=1",
    "data.flip_probability=0.5",
    "trainer.val_check_interval=2",
    "callbacks.last.every_n_minutes=0.0005",
)
_PLAIN = ("experiment=student", *TINY[:3], "objective=reconstruction", "teacher=none")
_TRAININGS = {
    "plain": _PLAIN,
    "averaged, accumulated, scheduled, stopped early": (
        *_PLAIN, "recipe=fast", "data.batch_size=2", "trainer.accumulate_grad_batches=2", "ema=standard",
        "early_stopping=standard", "callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=50",
        "trainer.max_steps=9",
    ),
    "by epoch": (
        *_PLAIN, "trainer.max_epochs=2", "trainer.max_steps=-1", "trainer.check_val_every_n_epoch=1",
        "trainer.val_check_interval=null", "early_stopping=standard",
    ),
    "distilled": ("experiment=student", *TINY[:3], "teacher.max_steps=4"),
    "urdgn": (
        "experiment=urdgn", "recipe=fast", "model.widths=[4,4,4]", "module.discriminator.size_px=32",
    ),
    "dicgan": (
        "experiment=dicgan", "size=reduced", "data.scale=8", "model.steps=2", "model.groups=1", "model.features=4",
        "model.fusion_blocks=1", "model.hourglass_features=8", "data.heatmap_px=16",
        "module.discriminator.size_px=64", "recipe=fast",
    ),
}  # fmt: skip


class Broken:
    """A command that is killed again and again in a folder of its own, beside an unbroken run of it."""

    def __init__(self, home: Path, command: tuple[str, ...], seed: int) -> None:
        self.home, self.command, self.random = home, command, random.Random(seed)
        self.whole = pkdn(home / "whole", *command)
        assert self.whole.status == 0, self.whole.log
        self.folder = home / "broken"
        self.kills = 0

    def again(self) -> tuple[str, ...]:
        """Returns what a user types after a kill."""
        run = RunFolder(self.folder / "run")
        resumable = self.command[0] == "train" and run.last.is_file() and not run.finished
        return ("train", "resume=run") if resumable else self.command

    def kill(self, **how: object) -> Outcome:
        ended = pkdn(self.folder, *self.again(), **how)
        assert ended.status in (0, 1, -signal.SIGKILL), ended.log
        assert "Traceback" not in ended.log, ended.log
        self.kills += ended.status == -signal.SIGKILL
        return ended

    def kill_anywhere(self) -> None:
        """Kills at a random event, or at a random time, once or several times in a row."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            if self.random.random() < 0.75:
                ended = self.kill(at_event=self.random.randrange(len(self.whole.events)))
            else:
                ended = self.kill(after_s=self.random.uniform(0.05, self.whole.seconds))
            if ended.status == 0:
                break
        self.finish()

    def finish(self) -> None:
        if not RunFolder(self.folder / "run").finished:
            ended = pkdn(self.folder, *self.again())
            assert ended.status == 0, ended.log
        assert_equal_folders(self.home / "whole", self.folder)


@pytest.fixture
def broken(tmp_path, store, request):
    return lambda *command: Broken(tmp_path, command, seed=int(os.environ.get("PKDN_SEED", "0")))


@pytest.fixture(scope="session")
def larger_store(tmp_path_factory) -> FaceStore:
    """Faces of 64 px, the least that DIC takes."""
    return write_store(tmp_path_factory.mktemp("stores") / "larger", size_px=64)


def training(store: FaceStore, name: str) -> tuple[str, ...]:
    chosen = [each for each in _COMMON if each.partition("=")[0] not in {o.partition("=")[0] for o in _TRAININGS[name]}]
    return ("train", *_TRAININGS[name][:1], *chosen, *_TRAININGS[name][1:], f"data.store={store.path}", "run_dir=run")


@pytest.mark.parametrize("name", _TRAININGS)
def test_smoke(broken, store, larger_store, name):
    run = broken(*training(larger_store if name == "dicgan" else store, name))
    print(run.whole.seconds, len(run.whole.events), run.whole.log[-300:])
    print(*run.whole.events[:80])
    run.kill_anywhere()
