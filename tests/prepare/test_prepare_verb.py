"""The verb `prepare`: what it makes, what it says, and that it can be killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.prepare import prepare
from tests.prepare.conftest import ROOT, contents, left_beside

TINY = (
    "data=portraits",
    "data.name=tiny",
    "data.store=stores/tiny",
    "data.source._target_=tests.prepare.conftest.Tiny",
    "data.source.train=150",
    "data.source.val=40",
    "data.source.test=30",
    "data.source.size_px=8",
    "workers=0",
    "check_maps=false",
)


def run(*overrides: str) -> FaceStore | None:
    return prepare(compose("prepare", [*TINY, *overrides]))


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_a_store_is_made_and_told(capsys):
    store = run()
    assert store.manifest["splits"] == {"train": 137, "val": 36, "test": 27}
    told = capsys.readouterr().out
    assert "Store stores/tiny: train 137, val 36, test 27 faces of 8 px with parsing maps, SHA-256 " in told
    assert store.sha256[:12] in told
    assert "Rejected: 20 photographs (no_face 10, too_small 10). See stores/tiny/rejects.csv" in told
    assert "See stores/tiny/card.md" in told
    assert "no parsing maps" not in told
    with pytest.raises(DataError, match="stores/tiny exists already"):
        run()
    assert run("verify=stores/tiny").sha256 == store.sha256
    assert "stores/tiny is whole: train 137, val 36, test 27 faces" in capsys.readouterr().out


def test_a_damaged_store_is_found(capsys):
    hr = run().path / "hr.npy"
    content = bytearray(hr.read_bytes())
    content[-1] ^= 1
    hr.write_bytes(content)
    with pytest.raises(DataError, match=r"hr\.npy is not the file that was prepared"):
        run("verify=stores/tiny")


def test_a_dry_run_writes_nothing_and_tells_what_there_is(tmp_path, capsys):
    assert run("dry_run=true", "+data.source.wanted={train: 100, test: 50}") is None
    assert files(tmp_path) == []
    told = capsys.readouterr().out.splitlines()
    assert told[:4] == [
        "A dry run: nothing is written.",
        "train: 100 faces wanted of 150 photographs, 7 known identities",
        "val: all of 40 photographs, 7 known identities",
        "test: 50 faces wanted of 30 photographs, 7 known identities",
    ]
    assert "source: tiny" in told
    assert told[-1] == "Store: stores/tiny, about 0 MB"
    run("out=elsewhere")
    run("out=elsewhere", "dry_run=true")
    assert "Store: elsewhere, exists already and would be kept" in capsys.readouterr().out


def test_what_is_missing_is_told(capsys):
    run("+data.source.wanted={train: 100, test: 50}", "+data.source.maps=false", "+data.source.marks=false")
    told = capsys.readouterr().out
    assert "test has 27 of the 50 faces wanted: no more photographs were set aside for it." in told
    assert "train has" not in told
    assert "It has no parsing maps, so it trains students without a teacher: objective=reconstruction." in told


def test_images_in_two_splits_are_told(tmp_path, capsys):
    draw = np.random.default_rng(1)
    for split, name in (("train", "[red]a"), ("train", "b"), ("val", "[bold]x"), ("test", "c")):
        folder = tmp_path / "faces" / split / "images"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        pixels.resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    shutil.copy(tmp_path / "faces/train/images/[red]a.png", tmp_path / "faces/val/images/[bold]x.png")
    source = ("data=folder", f"data.source.path={tmp_path}/faces", "data.source.size_px=32")
    prepare(compose("prepare", [*source, "out='s[dim]'"]))
    told = capsys.readouterr().out  # names that look like markup are told as they are
    assert "In two splits: 1 image, the first train/[red]a and val/[bold]x. See s[dim]/duplicates.csv" in told
    assert "Store s[dim]: train 2, val 1, test 1 faces" in told


def test_shards_are_made_and_joined(capsys):
    alone = run("out=alone/tiny")
    for number in (1, 2, 3):
        assert run(f"shard={number}/3") is None
    assert "Shard stores/tiny.shard-0003-of-0003. When all are there: pkdn prepare join=stores/tiny" in (
        capsys.readouterr().out
    )
    joined = prepare(compose("prepare", ["join=stores/tiny"]))
    assert contents(joined.path) == contents(alone.path)
    assert "Store stores/tiny: train 137, val 36, test 27 faces" in capsys.readouterr().out


@pytest.mark.parametrize("override", ["shard=4/3", "shard=x", "workers=-2"])
def test_a_wrong_option_is_told_before_anything_is_made(tmp_path, override):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        run(override)
    assert not (tmp_path / "stores/tiny").exists()


def test_an_unfinished_run_of_other_options_is_told(tmp_path):
    with pytest.raises(DataError):
        run("+data.source.fails_at=100")
    with pytest.raises(DataError, match=r"stores/tiny\.partial holds 59 faces.*\n  made\.seed: 0 there, 4 now"):
        run("+data.source.seed=4")
    run()


def test_killed_from_outside_it_goes_on(tmp_path):
    command = [sys.executable, "-m", "pkdn_lightning.prepare", *TINY, "workers=2", "+data.source.pause=0.01"]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    tried = tmp_path / "stores/tiny.partial/tried.bin"
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (tried.exists() and tried.stat().st_size):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "stores/tiny").exists()
    assert contents(run().path) == contents(run("out=whole").path)
    assert left_beside(tmp_path / "stores/tiny") == []
