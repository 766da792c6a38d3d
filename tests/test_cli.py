"""The command line: help without torch, errors without a stack trace, verbs end to end."""

import subprocess
import sys

import pytest

from pkdn_lightning.cli import VERBS


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_help_answers_without_torch(verb):
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('pkdn_lightning.{verb}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules, 'imported torch'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"pkdn {verb}" in done.stdout


def test_the_bare_command_lists_the_verbs():
    done = run("pkdn_lightning")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in VERBS)
    assert run("pkdn_lightning", "trian").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pkdn_lightning.train", "traner.max_steps=3"], "Did you mean 'trainer'?"),
        (["pkdn_lightning.train", "experiment=student_celeba"], "pkdn prepare data=celeba data.source.path="),
        (["pkdn_lightning.evaluate", "data=celeba"], "No store at stores/celeba"),
        (["pkdn_lightning.prepare", "data=folder"], "data.source.path is not set"),
        (["pkdn_lightning.prepare", "verify=nowhere"], "No store at nowhere"),
        (["pkdn_lightning.train", "resume=nowhere"], "nowhere is not a run folder"),
    ],
)
def test_a_mistake_gives_a_message_and_no_stack_trace(arguments, expected):
    done = run(*arguments)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
