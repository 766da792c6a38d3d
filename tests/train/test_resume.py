"""Runs that are stopped, killed or finished, and go on."""

import csv
import hashlib
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pkdn_lightning import train as verb
from pkdn_lightning.errors import CheckpointError, PKDNError, TrainingError
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.train import train
from pkdn_lightning.train.resume import resuming_config, saved_config
from tests.robustness.equality import assert_equal_folders
from tests.train.conftest import stop_at

PLAIN = "objective=reconstruction"
LONG_TERMS = ("objective.ts.schedule=constant", "objective.fs.schedule=constant")
SCHEDULED = (PLAIN, "recipe=fast", "trainer.precision=32-true", "data.batch_size=4")


@pytest.fixture
def stopped(tiny_config, monkeypatch):
    """Returns a function that trains until a step and stops as Ctrl-C does."""

    def stop(*overrides: str, step: int = 2, run: str = "run") -> RunFolder:
        cfg = tiny_config(*overrides, run=run)
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(PKDNError, match=rf"Stopped after step {step}(?s:.*)pkdn train resume="):
                train(cfg)
        return RunFolder(Path(cfg.run_dir))

    return stop


def go_on(run: RunFolder, *overrides: str) -> RunFolder:
    return train(saved_config(str(run.path), list(overrides))).run


def digests(run: RunFolder) -> dict[str, str]:
    files = [file for file in run.path.rglob("*") if file.is_file()]
    return {str(file.relative_to(run.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def column(run: RunFolder, name: str) -> list[str]:
    with run.metrics.open(newline="") as file:
        return [row[name] for row in csv.DictReader(file) if row[name]]


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param((PLAIN,), id="plain", marks=pytest.mark.slow),  # tests/robustness/test_kills.py has it killed
        pytest.param((*LONG_TERMS, "ema=standard"), id="distilled, averaged"),
        pytest.param(SCHEDULED, id="scheduled", marks=pytest.mark.slow),  # the last one is, too
        pytest.param(
            (PLAIN, "trainer.accumulate_grad_batches=2", "data.batch_size=2", "degradation=blind2"),
            id="accumulated, blind",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (*SCHEDULED, "data.num_workers=1", "trainer.max_steps=-1", "trainer.max_epochs=2"), id="loader process"
        ),
    ],
)
def test_stopped_and_resumed_equals_uninterrupted(tiny_config, stopped, overrides, tmp_path):
    overrides = ("trainer.val_check_interval=2", "data.flip_probability=0.5", *overrides)
    whole = train(tiny_config(*overrides, run="whole/run")).run
    run = stopped(*overrides, step=4, run="stopped/run")  # in the middle of the second pass over the data
    assert run.status == RunStatus.INTERRUPTED
    go_on(run)
    assert_equal_folders(whole.path.parent, run.path.parent)
    results = run.read_results()
    assert (len(results["resumed"]), "resumed" in whole.read_results()) == (1, False)
    assert results["started"] <= results["resumed"][0]["started"]


def test_a_resumed_run_keeps_its_teacher_and_what_auto_stood_for(tiny_config, stopped, trained_teacher):
    teacher_run = trained_teacher.run
    run = stopped(*LONG_TERMS, "trainer.precision=auto", f"teacher.checkpoint={teacher_run.path}")
    pinned = resuming_config(run, tiny_config(*LONG_TERMS, "trainer.precision=auto"))
    assert (pinned.teacher.checkpoint, pinned.trainer.precision) == (str(teacher_run.best), "32-true")
    other = train(tiny_config("seed=1", experiment="teacher_celeba", run="other")).run
    with pytest.raises(CheckpointError, match="started with teacher"):
        go_on(run, f"teacher.checkpoint={other.path}")


def test_a_finished_run_that_is_made_longer_equals_one_that_was_longer_from_the_start(tiny_config, capsys):
    whole = train(tiny_config(PLAIN, "trainer.max_steps=12", run="whole/run")).run
    run = train(tiny_config(PLAIN, run="short/run")).run
    capsys.readouterr()
    go_on(run, "trainer.max_steps=12")
    assert "Finished after 6 steps; goes on to trainer.max_steps=12." in capsys.readouterr().out
    assert OmegaConf.load(run.config).trainer.max_steps == 12
    assert_equal_folders(whole.path.parent, run.path.parent)


@pytest.mark.parametrize(
    ("overrides", "longer"),
    [
        pytest.param(SCHEDULED, "trainer.max_steps=16", id="by step"),
        pytest.param(
            (*SCHEDULED, "trainer.max_steps=-1", "trainer.max_epochs=2"), "trainer.max_epochs=5", id="by epoch",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_the_schedule_of_a_longer_run_spans_its_new_length(tiny_config, overrides, longer, capsys):
    rates = column(train(tiny_config(*overrides, longer, run="whole")).run, "lr-Adam")
    run = train(tiny_config(*overrides)).run
    go_on(run, longer)
    assert "with the learning rate schedule of that length" in capsys.readouterr().out
    found = column(run, "lr-Adam")
    assert (len(found), found[6:]) == (len(rates), rates[6:])
    assert found[:6] != rates[:6]


def test_a_longer_run_that_is_killed_keeps_the_results_of_the_shorter_one_and_can_be_resumed(own_run, monkeypatch):
    run = own_run
    before = run.read_results()["metrics"]
    with monkeypatch.context() as patch:
        stop_at(patch, step=8)
        with pytest.raises(PKDNError, match="Stopped after step 8"):
            go_on(run, "trainer.max_steps=12")
    assert (run.status, run.read_results()["metrics"]) == (RunStatus.INTERRUPTED, before)
    go_on(run)
    assert (run.status, run.read_results()["steps"]) == (RunStatus.FINISHED, 12)


def test_a_run_that_early_stopping_ended_waits_anew_when_it_is_made_longer(tiny_config):
    patience = (
        "early_stopping=standard",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=50",
    )
    run = train(tiny_config(PLAIN, *patience, "trainer.max_steps=20", "trainer.val_check_interval=2")).run
    assert run.read_results()["steps"] == 4
    go_on(run, "trainer.max_steps=30")
    assert run.read_results()["steps"] == 6


def test_what_is_refused_leaves_the_run_as_it_was(own_run, bare_store):
    run = own_run
    before = digests(run)
    for overrides, message in (
        ([], r"finished after 6 steps(?s:.*)trainer\.max_steps="),
        (["trainer.log_every_n_steps=7"], "finished after 6 steps"),
        (["trainer.max_steps=6"], "finished after 6 steps"),
        (["trainer.max_steps=4"], r"trained for 6 steps, and trainer\.max_steps=4 ends it"),
        (["trainer.max_epochs=9"], r"trained for 6 steps, and trainer\.max_steps=6 ends it"),
        (["trainer.max_steps=16", "trainer.max_epochs=1"], r"trainer\.max_epochs=1 ends it"),
        (["trainer.max_steps=16", f"data.store={bare_store.path}"], "started with data"),
        (["trainer.max_steps=16", "model.width=16"], r"keeps its model\.width"),
        (["trainer.max_steps=16", "optimizer.lr=1"], r"keeps its optimizer\.lr(?s:.*)module\.init_from="),
        (["trainer.max_steps=16", "trainer.val_check_interval=often"], "val_check_interval"),
        (["trainer.max_stepz=16"], "max_stepz"),
        (["model=pkdn_teacher"], "keeps its model"),
        (["experiment=teacher"], "keeps its experiment"),
        (["size=reduced"], "keeps its size"),
    ):
        with pytest.raises(PKDNError, match=message):
            go_on(run, *overrides)
        assert digests(run) == before, overrides


def test_a_run_that_was_moved_goes_on_where_it_is_now(tiny_config, stopped, tmp_path):
    run = stopped(PLAIN, step=4)
    best = torch.load(run.best, weights_only=True)["global_step"]
    moved = RunFolder(run.path.rename(tmp_path / "elsewhere"))
    go_on(moved, "trainer.max_steps=5")
    assert not run.path.exists()
    assert len(column(moved, "train/loss/sr")) == 5
    assert moved.read_results()["metrics"]["best/step"] == best  # the state of ModelCheckpoint names the old folder


def test_the_stop_for_a_loss_that_is_not_finite_says_what_is_left(tiny_config, own_run):
    diverging = (PLAIN, "optimizer.lr=1e30", "trainer.val_check_interval=100")
    with pytest.raises(TrainingError, match=r"not finite(?s:.*)No checkpoint had been written yet"):
        train(tiny_config(*diverging, run="a"))
    checkpoint = torch.load(own_run.last, weights_only=True)
    checkpoint["state_dict"]["net.head.weight"].fill_(float("nan"))
    torch.save(checkpoint, own_run.last)
    with pytest.raises(TrainingError, match=r"not finite(?s:.*)last\.ckpt of step 6 is kept"):
        go_on(own_run, "trainer.max_steps=12")


@pytest.mark.parametrize(
    ("typed", "message"),
    [("resume=", "resume= is empty. Type: pkdn train resume=runs/"), ("resume=nowhere", "not a run folder")],
)
def test_resuming_nothing(monkeypatch, capsys, typed, message):
    monkeypatch.setattr(sys, "argv", ["pkdn", typed])
    with pytest.raises(SystemExit):
        verb.main()
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_what_is_no_run_is_left_alone(monkeypatch, capsys):
    Path("empty").mkdir()
    Path("last.ckpt").touch()
    for name in ("empty", "last.ckpt"):
        monkeypatch.setattr(sys, "argv", ["pkdn", f"resume={name}"])
        with pytest.raises(SystemExit):
            verb.main()
        assert f"{name} is not a run folder" in capsys.readouterr().err
        assert Path(name).exists()
