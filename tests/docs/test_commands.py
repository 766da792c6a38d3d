"""Every command on the pages is run: bash reads it, its configuration composes, and it does what it says.

What takes longer than a moment is run by `make test-slow`. Two kinds of commands are read and composed, and not run:
those of `NOT_RUN`, and the trainings of `RESULTS`, which take hours.
"""

import subprocess
from functools import cache

import lightning
import pytest
import torch

import pkdn_lightning.config
from pkdn_lightning.__main__ import VERBS
from pkdn_lightning.config.verb import explain
from tests.docs.commands import ROOT, Block, blocks, composed, inline, overrides, overrides_of, typed
from tests.docs.running import run, small

BASH = list(blocks("bash"))
INLINE = list(inline())
RESULTS = (ROOT / "experiments/README.md", ROOT / "docs/findings.md")

NOT_RUN = {
    ("make",): "it installs the environment first, and most targets take minutes",
    ("source", ".venv/bin/activate"): "the environment of the tests is active",
    ("wandb", "leet"): "it fills a terminal until somebody leaves it",
    ("wandb", "sync"): "it needs an account",
    ("python", "experiments/tracking/dashboards.py"): "it needs an account; tests/experiments runs it without",
    ("python", "experiments/campaign.py"): "it takes minutes; tests/experiments/test_campaign.py runs it",
    ("python", "benchmarks/preparation.py"): "it measures for minutes, and needs BiSeNet's weights",
    ("python", "-m"): "tests/test_cli.py runs every verb so",
    ("pkdn", "prepare", "landmarks=dlib"): "it is a part of a command, of an extra that tests do without",
    ("pkdn", "train", "launch=slurm"): "it needs a cluster",
    ("pkdn", "prepare", "launch=slurm"): "it needs a cluster",
}
"""Commands that have these words, and why they are not run."""

SLOW = {"train", "prepare", "export", "report", "demo", "tensorboard"}
"""Programs and verbs that take more than a moment."""


def why_not_run(words):
    """Returns why a command is not run; nothing if it is."""
    return next((why for given, why in NOT_RUN.items() if set(given) <= set(words)), "")


def run_of(found):
    """Returns the blocks that are run; those with a slow command marked so."""
    return [
        pytest.param(block, marks=[pytest.mark.slow] if block in INLINE or is_slow(block) else [], id=str(block))
        for block in found
        if not (block.page in RESULTS and any("train" in words for words in typed(block)))
        if not is_name(block) and not all(map(why_not_run, typed(block)))
    ]


def is_name(block):
    """Says whether a sentence names a verb, and shows no command."""
    return block in INLINE and len(typed(block)[0]) < 3


def is_slow(block):
    """Says whether a block has a command that takes more than a moment."""
    return any(SLOW & set(words[:2]) and "--help" not in words for words in typed(block))


def results_last(block):
    """Marks the pages of results and the sentences `slow`: each command is composed, and there are many."""
    slow = block.page in RESULTS or block in INLINE
    return pytest.param(block, marks=[pytest.mark.slow] if slow else [], id=str(block))


_composed = cache(composed)  # many commands are on several pages


def check(words, monkeypatch):
    """Checks a command as far as it can be without running it."""
    program, *arguments = words
    if program == "make":
        subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif program == "python" and arguments[0] != "-m":
        assert (ROOT / arguments[0]).is_file(), words
    elif program == "wandb":
        from wandb.cli.cli import cli

        assert arguments[0] in cli.commands, words
    elif program == "pkdn" and not arguments[0].startswith("-"):
        assert arguments[0] in VERBS, words
        verb, handed = overrides_of(arguments, monkeypatch)
        try:
            assert _composed(verb, tuple(handed))
        except Exception as error:  # whatever Hydra says: the page is wrong
            pytest.fail(f"{' '.join(words)}\n{explain(error)}")


@pytest.mark.parametrize("block", [results_last(block) for block in BASH + INLINE])
def test_a_command_can_be_typed(block, monkeypatch):
    for words in typed(block):
        check(words, monkeypatch)


@pytest.mark.parametrize("block", run_of(BASH + INLINE))
def test_a_command_runs(block, reader, monkeypatch):
    if any(words[:2] == ["pkdn", "prepare"] and "data=celeba" in words for words in typed(block)):
        (reader / "stores/celeba").unlink()  # or there is nothing to prepare
    for words in typed(block):
        if not why_not_run(words):
            run(words, monkeypatch)


WHERE = (
    ("train", "experiment=student_celeba"), ("train", "experiment=teacher_celeba"), ("prepare", "data=photos"),
    ("evaluate",), ("predict",), ("report",), ("export",), ("info",), ("demo",), ("train", "-m", "sweep=optuna"),
    ("train", "-m", "experiment=student_celeba"),
)  # fmt: skip
"""Where an override can be meant that a sentence shows alone; most often the first fits."""


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, marks=[pytest.mark.slow] if block.page != ROOT / "README.md" else [], id=str(block))
        for block in overrides()
        if "launcher.ray" not in block.code  # of a plugin that tests do without
    ],
)
def test_an_override_in_a_sentence_fits_a_command(block):
    words = typed(Block(block.page, block.line, f"pkdn {block.code}"))[0][1:]
    refused = []
    for verb, *before in WHERE:
        try:
            assert _composed(verb, (*before, *words))
        except Exception as error:  # it may be meant for another verb
            refused.append(explain(error))
        else:
            return
    pytest.fail(f"{block.code} fits no command: {refused[0]}")


def test_what_is_not_run_is_on_a_page():
    every = [set(words) for block in BASH + INLINE for words in typed(block)]
    for given in NOT_RUN:
        assert any(set(given) <= words for words in every), given


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, marks=[pytest.mark.slow] if ".train import" in block.code else [], id=str(block))
        for block in blocks("python")
    ],
)
def test_python_runs(block, reader, monkeypatch):
    compose, trainer = pkdn_lightning.config.compose, lightning.Trainer
    brief = {"max_steps": 1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    monkeypatch.setattr(lightning, "Trainer", lambda **given: trainer(**{**given, **brief}))
    monkeypatch.setattr(pkdn_lightning.config, "compose", lambda verb, given: compose(verb, small([verb, *given])[1:]))
    exec(compile(block.code, str(block), "exec"), {"lr": torch.rand(1, 3, 16, 16)})
