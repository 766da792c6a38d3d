"""Every debug preset, started as it is typed, on a store of a few faces."""

import sys
from pathlib import Path

import pytest

from pkdn_lightning import train as verb
from pkdn_lightning.runs import find_runs
from tests.conftest import write_store


@pytest.mark.parametrize(
    ("preset", "steps"),
    [
        ("fast", set()),
        pytest.param("profile", {12}, marks=pytest.mark.slow),
        pytest.param("overfit", {200}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("experiment", ["student_small", pytest.param("sparnet size=reduced", marks=pytest.mark.slow)])
def test_a_preset_runs_and_leaves_nothing_a_training_would_take(preset, steps, experiment, monkeypatch):
    write_store(Path("faces"), size_px=64, counts={"train": 2, "val": 1, "test": 1})
    typed = f"train experiment={experiment} debug={preset} data.store=faces"
    monkeypatch.setattr(sys, "argv", typed.split())
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # run_verb sets it for good
    with pytest.raises(SystemExit) as ended:
        verb.main()
    assert not ended.value.code
    assert not list(Path("runs").rglob("*.*"))
    assert {run.read_results()["steps"] for run in find_runs("debug")} == steps
