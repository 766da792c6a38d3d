"""The command line: help without torch, errors without a stack trace."""

import contextlib
import importlib
import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from pkdn_lightning.__main__ import VERBS


def test_help_answers_without_torch():
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"for verb in {VERBS!r}:\n"
        "    try: runpy.run_module(f'pkdn_lightning.{verb}', run_name='__main__')\n"
        "    except SystemExit: pass\n"
        "    assert not {'torch', 'lightning', 'gradio'} & set(sys.modules), f'slow imports of {verb}'\n"
        "    print('\\f')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb, page in zip(VERBS, done.stdout.split("\f"), strict=False):
        assert f"pkdn {verb}" in page


def test_the_bare_command_lists_the_verbs():
    done = subprocess.run([sys.executable, "-m", "pkdn_lightning"], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in VERBS)
    wrong = subprocess.run(
        [sys.executable, "-m", "pkdn_lightning", "trian"], capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stderr) == (2, f"There is no verb 'trian'. There are: {', '.join(VERBS)}.\n")


@pytest.mark.parametrize(
    ("verb", "arguments", "expected"),
    [
        ("train", ["traner.max_steps=3"], "Did you mean 'trainer'?"),
        ("train", ["experiment=studnt"], "ConfigError: There is no 'studnt' in 'experiment'. Did you mean 'student'?"),
        ("train", ["ema=maybe"], "There are: none, standard"),
        ("train", ["debug=null"], "ConfigError: There is no 'null' in 'debug'.\nThere are: fast"),
        ("train", ["model=1"], "ConfigError: There is no '1' in 'model'.\nThere are: dic"),
        ("train", ["experiment=[demo,1]"], "ConfigError: There is no '1' in 'experiment'."),
        ("train", ["-m", "experiment=true,1"], "ConfigError: There is no 'true' in 'experiment'."),
        ("train", ["-m", "experiment=demo", "traner.x=1,2"], "ConfigError: Unknown key 'traner'."),
        ("info", ["model=2024-01-01"], "There is no '2024-01-01' in 'model'."),
        (
            "train",
            ["~objective"],
            "ConfigError: ~objective: 'objective' cannot be removed, only set: objective=<value>",
        ),
        ("train", ["--resolve"], "--resolve is for a configuration that is shown: pkdn train --cfg job --resolve"),
        ("train", ["--experimental-rerun", "x"], "There is no option --experimental-rerun."),
        ("train", ["~trainer.max_steps"], "ConfigError: trainer.max_steps cannot be removed, only set"),
        ("train", ["tags=[null]"], "ConfigError: tags[0]=null: expected text"),
        ("train", ["data.test_stores=[null]"], "expected names with values, e.g. data.test_stores={name: value}"),
        ("predict", ["~input"], "'input' cannot be removed"),
        ("train", ["+objective.more={weight:1}"], "objective.more: terms cannot be added on the command line."),
        ("train", ["objective=distillation", "objective.ts=null"], "objective.ts.weight=0 switches the term off."),
        ("train", ["objective.ts=5"], "objective.ts: expected a term of the objective; to set its weight:"),
        ("train", ["degradation=blnd"], "ConfigError: There is no 'blnd' in 'degradation'. Did you mean 'blind'?"),
        ("train", ["degradation=blind", "data.blind.jpeg_quality=[0,50]"], "data.blind.jpeg_quality=[0, 50]: expected"),
        (
            "evaluate",
            ["degradation=blind", "data.blind.kernel_px=20"],
            "data.blind.kernel_px=20: expected a whole number",
        ),
        ("evaluate", ["degradation=blind", "data.blind.sgma=[1,2]"], "Did you mean 'data.blind.sigma'?"),
        ("info", ["model=foo"], "ConfigError: There is no 'foo' in 'model'."),
        ("train", ["experiment=student_celeba"], "pkdn prepare data=celeba data.source.path="),
        ("train", ["experiment=demo", "paths.runs=/dev/null"], "FileError: /dev/null/demo_portraits: Not a directory."),
        ("train", ["experiment=demo", "run_dir=/dev/null/mine"], "FileError: /dev/null/mine: Not a directory."),
        ("train", ["resume=nowhere"], "nowhere is not a run folder"),
        ("evaluate", ["data=celeba"], "There is no store at stores/celeba"),
        ("prepare", ["data=folder"], "data.source.path is not set"),
        ("prepare", ["verify=nowhere"], "No store at nowhere"),
    ],
)
def test_a_mistake_gives_a_message_and_leaves_nothing(verb, arguments, expected, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", [f"{verb}.py", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # whatever the user has set
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"pkdn_lightning.{verb}").main()
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert expected in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", [["pkdn_lightning", "predict"], ["pkdn_lightning.predict"]])
def test_ctrl_c_while_a_verb_is_imported_leaves_no_trace(program, tmp_path):
    """As it arrives with the first import of Hydra."""
    (tmp_path / "hydra.py").write_text("raise KeyboardInterrupt")
    done = subprocess.run(
        [sys.executable, "-m", *program], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    assert (done.returncode != 0, done.stderr) == (True, "Stopped by the keyboard.\n")


def test_a_key_typed_twice_is_told(monkeypatch, capfd):
    from pkdn_lightning.train import main

    typed = ["seed=1", "data=lfw", "seed=1", "++seed=2", "data=portraits", "--cfg", "job"]
    monkeypatch.setattr(sys, "argv", ["pkdn", *typed])
    with contextlib.suppress(SystemExit):
        main()
    shown = capfd.readouterr()
    assert shown.err.splitlines() == [
        "++seed=2 is used; seed=1, typed before it, is not.",
        "data=portraits is used; data=lfw, typed before it, is not.",
    ]
    cfg = OmegaConf.create(shown.out)
    assert (cfg.seed, cfg.data.name) == (2, "portraits")


@pytest.mark.parametrize("verb", VERBS)
def test_a_configuration_is_shown_with_its_references_resolved(verb, monkeypatch, capfd):
    module = importlib.import_module(f"pkdn_lightning.{verb}")
    monkeypatch.setattr(sys, "argv", ["pkdn", "--cfg", "job", "--resolve"])
    with contextlib.suppress(SystemExit):
        module.main()
    shown = capfd.readouterr()
    assert not shown.err
    assert OmegaConf.create(shown.out)
    assert "${" not in shown.out
