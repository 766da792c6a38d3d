"""Every command on the pages can be typed: bash reads it, its program exists, and its verb's configuration composes.

What stands below a comment `<!-- run -->` is run, on drawn faces and with networks that are made small.
"""

import re
import sys
from functools import cache

import pytest
import torch
from omegaconf import OmegaConf

from pkdn_lightning.checkpoints import CARD_KEY
from pkdn_lightning.cli import VERBS, main
from pkdn_lightning.config import compose
from pkdn_lightning.config.build import build_network
from pkdn_lightning.config.verb import explain
from pkdn_lightning.runs import RunFolder, write_json
from tests.conftest import TINY, write_store
from tests.docs.commands import ROOT, RUN, blocks, composed, exit_status, inline, overrides_of, typed
from tests.prediction.conftest import face

BASH = list(blocks("bash"))
INLINE = list(inline())
SMALL = {
    "train": [each for each in TINY if not each.startswith(("model.", "data.scale", "data.name"))]
    + ["model.width=8", "trainer.max_steps=2", "trainer.val_check_interval=2", "test=false", "data.eval_batch_size=4"],
    "predict": ["accelerator=cpu", "threads=1"],
    "report": ["accelerator=cpu", "threads=1"],
    "evaluate": ["accelerator=cpu"],
}
"""What is added to a command of a verb, so that running it takes seconds."""


def results_last(block):
    """Marks the long page of results and the sentences `slow`: each command is composed, and there are many."""
    slow = block.page.parent == ROOT / "experiments" or block in INLINE
    return pytest.param(block, marks=[pytest.mark.slow] if slow else [], id=str(block))


def wished(found):
    """Returns the blocks that are to be run."""
    return [
        pytest.param(block, marks=[pytest.mark.slow] if "slow" in block.wish else [], id=str(block))
        for block in found
        if block.wish
    ]


_composed = cache(composed)  # many commands are on several pages


def check(words, monkeypatch):
    """Checks a command as far as it can be without running it."""
    program, *arguments = words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
    elif program == "python" and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), words
    elif program == "pkdn" and not arguments[0].startswith("-"):
        assert arguments[0] in VERBS, words
        verb, handed = overrides_of(arguments, monkeypatch)
        try:
            assert _composed(verb, tuple(handed))
        except Exception as error:  # whatever Hydra says: the page is wrong
            pytest.fail(f"{' '.join(words)}\n{explain(error)}")


@pytest.mark.parametrize("block", list(map(results_last, BASH)))
def test_a_block_can_be_typed(block, tmp_path, monkeypatch):
    commands = typed(block, tmp_path)
    assert commands
    for words in commands:
        check(words, monkeypatch)


@pytest.mark.parametrize("block", list(map(results_last, INLINE)))
def test_a_command_in_a_sentence_can_be_typed(block, tmp_path, monkeypatch):
    for words in typed(block, tmp_path):
        check(words, monkeypatch)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Drawn faces of 128 px, called celeba."""
    counts = {"train": 8, "val": 2, "test": 2}
    return write_store(tmp_path_factory.mktemp("stores") / "celeba", size_px=128, counts=counts)


@pytest.fixture
def reader(tmp_path, faces):
    """A folder as a reader of the pages would have it: a store, photographs, a run."""
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores/celeba").symlink_to(faces.path)
    (tmp_path / "photos").mkdir()
    face(1, 16).save(tmp_path / "photos/small.png")
    run = RunFolder(tmp_path / "runs/student_celeba" / RUN)
    cfg = compose(
        "train", ["experiment=student_celeba", "model.width=4", "model.rcabs_per_level=1", f"run_dir={run.path}"]
    )
    run.checkpoints.mkdir(parents=True)
    OmegaConf.save(cfg, run.config, resolve=True)
    network = OmegaConf.to_container(cfg.model, resolve=True)
    card = {"network": network, "experiment": cfg.experiment, "data": {"name": "celeba", "sha256": faces.sha256}}
    card |= {key: cfg.data[key] for key in ("scale", "degradation", "encoding")}
    state = {f"net.{name}": value for name, value in build_network(network).state_dict().items()}
    torch.save({CARD_KEY: card, "state_dict": state, "global_step": 2}, run.best)
    write_json(run.results, {"experiment": cfg.experiment, "status": "finished", "seed": 0, "metrics": {}, "steps": 2})
    return tmp_path


@pytest.mark.parametrize("block", wished(BASH))
def test_a_block_runs(block, reader, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # run_verb sets it for good
    for program, *arguments in typed(block, reader):
        assert program == "pkdn"
        monkeypatch.setattr(sys, "argv", [program, *arguments, *SMALL.get(arguments[0], [])])
        assert exit_status(main) == 0, arguments


@pytest.mark.parametrize("block", wished(blocks("python")))
def test_python_runs(block, reader):
    exec(compile(block.code, str(block), "exec"), {"lr": torch.rand(1, 3, 16, 16)})
