"""What is killed and started again ends as if it had never been killed, file by file.

The campaign (`make test-slow`) breaks 60 times, mostly by SIGKILL; `PKDN_KILLS=600` breaks more often, and
`PKDN_SEED=1` at other places.
"""

import os
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

import pkdn_lightning.train.training_run  # noqa: F401  # before the first fork
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.runs import RunFolder
from tests.conftest import TINY, write_store
from tests.robustness.equality import assert_equal_folders
from tests.robustness.killing import FULL_DISK, Outcome, pkdn

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
        *_PLAIN, "recipe=fast", "trainer.precision=32-true", "data.batch_size=2", "trainer.accumulate_grad_batches=2",
        "ema=standard",
        "early_stopping=standard", "callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=50",
        "trainer.max_steps=9",
    ),
    "by epoch": (
        *_PLAIN, "trainer.max_epochs=2", "trainer.max_steps=-1", "trainer.check_val_every_n_epoch=1",
        "trainer.val_check_interval=null", "early_stopping=standard",
    ),
    "distilled": ("experiment=student", *TINY[:3], "teacher.max_steps=4"),
    "urdgn": (
        "experiment=urdgn", "recipe=fast", "trainer.precision=32-true", "model.widths=[4,4,4]",
        "module.discriminator.size_px=32",
    ),
    "dicgan": (
        "experiment=dicgan", "size=reduced", "data.scale=8", "model.steps=2", "model.groups=1", "model.features=4",
        "model.fusion_blocks=1", "model.hourglass_features=8", "data.heatmap_px=16",
        "module.discriminator.size_px=64", "recipe=fast", "trainer.precision=32-true",
    ),
}  # fmt: skip


_FACES = ("data.source.train=6", "data.source.val=2", "data.source.test=2", "data.source.size_px=32")
_SHARES = {
    **{name: 7 for name in _TRAININGS}, "dicgan": 5, "sweep": 5, "prepare": 5, "predict": 4, "export": 3,
}  # fmt: skip


class Broken:
    """A command that is killed again and again in a folder of its own, beside an unbroken run of it."""

    def __init__(self, home: Path, command: tuple[str, ...], seed: int) -> None:
        self.home, self.command, self.random = home, command, random.Random(seed)
        self.whole = pkdn(home / "whole", *command)
        assert self.whole.status == 0, self.whole
        self.folder = home / "broken"
        self.ends: Counter[int] = Counter()

    def run(self, **how: int | float) -> Outcome:
        """Types what a user types after a kill."""
        run = RunFolder(self.folder / "run")
        resumed = self.command[0] == "train" and run.last.is_file()
        return pkdn(self.folder, *(("train", "resume=run") if resumed else self.command), **how)  # type: ignore[arg-type]

    @property
    def is_done(self) -> bool:
        """Whether the command must not be typed again: it is complete, although its process was killed."""
        if self.command[0] == "export":
            return (self.folder / "out/export.json").is_file() and not (self.folder / "out/.unfinished.json").is_file()
        return RunFolder(self.folder / "run").finished or (self.folder / "out/manifest.json").is_file()

    def break_at(self, **how: int | float) -> Outcome:
        ended = self.run(**how)
        graceful = how.get("number", signal.SIGKILL) != signal.SIGKILL
        allowed = (0, 1, -signal.SIGTERM) if graceful else (0, -signal.SIGKILL)
        assert ended.status in allowed, ended
        assert "Traceback" not in ended.log, ended.log
        if how.get("number") == FULL_DISK and ended.status:
            assert "No space left" in ended.log or "disk is full" in ended.log, ended.log
            assert not [file for file in self.folder.rglob(".*-*.*") if str(os.getpid()) in file.name]
        self.ends[how.get("number", signal.SIGKILL)] += ended.status != 0
        return ended

    def break_anywhere(self) -> None:
        """Breaks at a random event or at a random time, once or several times in a row, and then completes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for _ in range(self.random.choice((1, 1, 2, 3))):
            how: dict[str, int | float] = {"at_event": self.random.randrange(max(1, len(self.whole.events)))}
            if self.random.random() < 0.25 or not self.whole.events:
                how = {"after_s": self.random.uniform(0.05, self.whole.seconds)}
            elif self.command[0] == "train" and "-m" not in self.command:
                how["number"] = self.random.choice((signal.SIGKILL,) * 4 + (signal.SIGTERM, signal.SIGINT, FULL_DISK))
            if self.break_at(**how).status == 0 or self.is_done:
                break
        self.complete()

    def complete(self) -> None:
        if not self.is_done:
            ended = self.run()
            assert ended.status == 0, ended
        assert_equal_folders(self.home / "whole", self.folder)


@pytest.fixture(scope="session")
def larger_store(tmp_path_factory) -> FaceStore:
    """Faces of 64 px, the least that DIC takes."""
    return write_store(tmp_path_factory.mktemp("stores") / "larger", size_px=64)


@pytest.fixture
def command(tmp_path, store, request):
    """Returns a function that makes the command line of a name in `_SHARES`."""

    def make(name: str) -> tuple[str, ...]:
        if name in _TRAININGS:
            faces = request.getfixturevalue("larger_store") if name == "dicgan" else store
            keys = {each.partition("=")[0] for each in _TRAININGS[name]}
            common = [each for each in _COMMON if each.partition("=")[0] not in keys]
            return (
                "train",
                _TRAININGS[name][0],
                *common,
                *_TRAININGS[name][1:],
                f"data.store={faces.path}",
                "run_dir=run",
            )
        if name == "sweep":
            plain = make("plain")[:-1]  # without run_dir
            return (plain[0], "-m", *plain[1:], "seed=0,1", "trainer.max_steps=4", "hydra.sweep.dir=sweep")
        if name == "prepare":
            return ("prepare", "data=portraits", "data.store=out", "workers=1", *_FACES)
        model = pkdn(tmp_path / "model", *make("plain"))
        assert model.status == 0, model.log
        if name == "export":
            return ("export", f"model={tmp_path}/model/run", "output=out", "faces=2", "threads=1")
        pictures = tmp_path / "pictures"
        pictures.mkdir()
        for number in range(6):
            Image.fromarray(store.hr[number]).save(pictures / f"{number}.png")
        return (
            "predict", f"model={tmp_path}/model/run", f"input={pictures}", "output=out", "mode=aligned", "threads=1",
            "batch_size=1",
        )  # fmt: skip

    return make


def seed() -> int:
    return int(os.environ.get("PKDN_SEED", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("name", _SHARES)
def test_whatever_is_broken_off_ends_as_if_it_had_not_been(tmp_path, command, name):
    wanted = max(1, round(int(os.environ.get("PKDN_KILLS", "60")) * _SHARES[name] / sum(_SHARES.values())))
    broken = Broken(tmp_path, command(name), seed())
    for _ in range(3 * wanted):
        if broken.ends.total() >= wanted:
            break
        broken.break_anywhere()
    counts = {signal.Signals(number).name if number else "disk full": n for number, n in broken.ends.items()}
    sys.stdout.write(f"{name}, {len(broken.whole.events)} events, {broken.whole.seconds:.1f} s: {counts}\n")
    assert broken.ends.total() >= wanted


@pytest.mark.parametrize(
    ("name", "event", "occurrence", "number"),
    [
        pytest.param("urdgn", "validation_step", 2, signal.SIGKILL, id="in a validation, adversarial"),
        pytest.param(
            "averaged, accumulated, scheduled, stopped early", "test_step", 0, signal.SIGKILL, id="in the test",
            marks=pytest.mark.slow,
        ),
        pytest.param("plain", "fsync", 5, signal.SIGKILL, id="in the first last.ckpt"),
        pytest.param("by epoch", "fsync", -4, FULL_DISK, id="disk full in the last epoch"),
    ],
)  # fmt: skip
def test_the_most_telling_kills(tmp_path, command, name, event, occurrence, number):
    broken = Broken(tmp_path, command(name), seed())
    places = [place for place, happened in enumerate(broken.whole.events) if happened == event]
    assert broken.break_at(at_event=places[occurrence], number=number).status != 0
    broken.complete()
