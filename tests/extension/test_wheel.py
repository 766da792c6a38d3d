"""The template with the installed package: a wheel in an environment of its own, commands in an empty folder."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from pkdn_lightning.config import conf_dir
from tests.extension.conftest import TEMPLATE, TINY

ROOT = conf_dir().parent
COMPOSE = """
import hydra
with hydra.initialize_config_module("pkdn_lightning.conf", version_base="1.3"):
    assert hydra.compose("train", ["experiment=demo", "seed=7"]).seed == 7
import pkdn_lightning
assert "site-packages/pkdn_lightning" in pkdn_lightning.__file__
assert pkdn_lightning.compose("train", ["experiment=mine"]).model.width == 32
"""


def run(*command: str, folder: Path) -> str:
    """Runs a command in a folder, without what this checkout puts on the path, and returns its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Path:
    """The programs of an environment with the wheel of this checkout; it borrows the installed dependencies."""
    place = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    run(sys.executable, "-m", "build", "--wheel", *isolation, "-o", str(place), str(ROOT), folder=place)
    run(sys.executable, "-m", "venv", "--without-pip", str(place / "env"), folder=place)
    (packages,) = (place / "env").glob("lib/python*/site-packages")
    borrowed = Path(pytest.__file__).parents[1]
    (packages / "borrowed.pth").write_text(f"{borrowed}\n")
    programs, (wheel,) = place / "env/bin", place.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", str(wheel),
        folder=place)  # fmt: skip
    return programs


@pytest.mark.slow
def test_the_template_works_with_the_installed_package(commands, tmp_path):
    shutil.copytree(TEMPLATE, tmp_path, dirs_exist_ok=True)
    pkdn = str(commands / "pkdn")
    run(str(commands / "python"), "-c", COMPOSE, folder=tmp_path)

    run(pkdn, "train", "experiment=mine", *TINY, "run_dir=runs/mine", folder=tmp_path)
    run(pkdn, "train", "resume=runs/mine", "trainer.max_steps=6", folder=tmp_path)
    data = [each for each in TINY if each.startswith("data.")]
    assert "mine" in run(pkdn, "evaluate", "data=grey", "models.mine=runs/mine", *data, folder=tmp_path)
    Image.new("RGB", (8, 8), (90, 120, 150)).save(tmp_path / "face.png")
    run(pkdn, "predict", "model=runs/mine", "input=face.png", "output=restored", "mode=lr", folder=tmp_path)
    assert Image.open(tmp_path / "restored/face.png").size == (32, 32)
    run(pkdn, "report", "runs=runs", *[each for each in data if "source" not in each and "scale" not in each],
        folder=tmp_path)  # fmt: skip
    assert "shuffle" in run(pkdn, "train", "--help", folder=tmp_path)
