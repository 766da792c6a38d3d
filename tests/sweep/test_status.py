"""The status table, from folders made by hand."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pkdn_lightning.config import compose
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.files import write_json
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.sweep import _as_overrides, status_table, sweep
from pkdn_lightning.sweep.status import find_progress


def make(name: str, *, status: str | None = None, steps: int | None = None, **results) -> RunFolder:
    """Makes a run folder as a training of 100 steps leaves it."""
    run = RunFolder(Path("sweep") / name)
    write_json(run.job, {"sweep": "id", "overrides": [], "command": "pkdn train"})
    if status:
        write_json(run.results, {"status": status, **results})
    if steps is not None:
        run.checkpoints.mkdir()
        run.last.touch()
        run.config.write_text("trainer: {max_steps: 100, max_epochs: -1}\n")
        rows = [f"0,{step},,{step * 2.0}" for step in range(0, steps, 10)] + [f"0,{steps - 1},{20 + steps / 100},"]
        run.metrics.write_text("\n".join(["epoch,step,val/psnr_y,train/wall_s", *rows]) + "\n")
    return run


@pytest.fixture
def found():
    make("a", status="finished", steps=100, **{"metrics": {"val/psnr_y": 24.5}})
    running, waiting = make("b", steps=51), make("c", status="waiting", **{"for": "sweep/b"})
    make("d", status="interrupted", steps=31)
    make("e", status="failed", steps=11, error="TrainingError: the loss was not finite\nmore")
    make("g", steps=21)  # killed: no word
    make("h")
    other = make("i")
    write_json(other.job, {"outcome": "failed", "error": "ConfigError: holds another run"})
    with running.held(), waiting.held():
        yield {each.run.path.name: each for each in find_progress(Path("sweep"))}


def test_every_state_is_told_apart(found):
    states = {name: each.status for name, each in found.items()}
    assert states == {
        "a": "finished", "b": "running", "c": "waiting", "d": "interrupted", "e": "failed",
        "g": "interrupted", "h": "interrupted", "i": "failed",
    }  # fmt: skip
    assert (found["b"].step, found["b"].share, found["b"].psnr) == (50, 0.51, 20.51)
    assert found["b"].left_s == pytest.approx(100 * 0.49 / 0.51)  # 100 s for what is done
    assert [found[name].left_s for name in "acdegh"] == [None] * 6
    assert found["a"].psnr == 24.5
    assert found["c"].note == "for the teacher sweep/b, at step 50"
    assert found["h"].note == "before its first checkpoint"
    assert "holds another run" in found["i"].note


def test_the_table_names_every_job_and_counts_them(found):
    text = io.StringIO()
    Console(file=text, width=120).print(status_table(Path("sweep"), list(found.values())))
    shown = text.getvalue()
    assert "8 in sweep: 1 running, 1 waiting, 1 finished, 3 interrupted, 2 failed" in shown
    assert "50  51%" in shown
    assert "TrainingError: the loss was not finite" in shown
    assert "more" not in shown


def test_a_status_is_read_at_any_moment(found):
    run = RunFolder(Path("sweep/b"))
    run.results.write_text('{"status": "fin')  # half of a file
    run.metrics.write_text("epoch,step\n0,1\n0,")
    run.config.write_text("trainer: [")
    (standing,) = (each for each in find_progress(Path("sweep")) if each.run.path == run.path)
    assert (standing.status, standing.step, standing.share) == ("running", 1, None)


def test_a_finished_run_that_cannot_be_evaluated_is_told(found):
    run = found["a"].run
    for text in ("trainer: [", "", None):
        run.config.unlink() if text is None else run.config.write_text(text)
        (standing,) = (each for each in find_progress(Path("sweep")) if each.run.path == run.path)
        assert standing.status == "finished"
        assert standing.note == "its config.yaml is missing or cannot be read, so it cannot be evaluated"


def test_the_verb(found, capsys):
    assert _as_overrides(["status", "runs/a", "watch=true"]) == ["runs=runs/a", "watch=true"]
    assert _as_overrides(["runs=runs/a"]) == ["runs=runs/a"]
    sweep(compose("sweep", ["runs=sweep"]))
    assert "3 interrupted" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no run in nowhere"):
        sweep(compose("sweep", ["runs=nowhere"]))
