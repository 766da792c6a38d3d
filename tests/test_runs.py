"""Run folders: what is recorded, and how runs are found."""

import json
import os

import pytest

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.files import write_json
from pkdn_lightning.runs import RunFolder, RunStatus, find_runs, git_state, open_run, provenance
from pkdn_lightning.train.teacher_lookup import find_teacher


def finished(path, when: int, **results) -> RunFolder:
    run = RunFolder(path)
    write_json(run.results, {"status": "finished", **results})
    os.utime(run.results, (when, when))
    run.checkpoints.mkdir()
    run.best.touch()
    return run


def test_finished_runs_are_found_newest_first(tmp_path):
    old, new = finished(tmp_path / "a/old", 100), finished(tmp_path / "new", 200)
    write_json(tmp_path / "stopped/results.json", {"status": "interrupted"})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/results.json").write_text("{")
    assert [run.path for run in find_runs(tmp_path)] == [new.path, old.path]


def test_a_teacher_is_found_by_what_it_is(tmp_path):
    finished(tmp_path / "other", 300, identity={"data": "x", "scale": 8})
    wanted = finished(tmp_path / "wanted", 200, identity={"data": "y", "scale": 8})
    finished(tmp_path / "older", 100, identity={"data": "y", "scale": 8})
    assert find_teacher(tmp_path, {"data": "y", "scale": 8}).path == wanted.path
    assert find_teacher(tmp_path, {"data": "y", "scale": 4}) is None
    assert find_teacher(tmp_path / "nowhere", {}) is None


def test_a_teacher_that_was_never_validated_is_found(tmp_path):
    short = finished(tmp_path / "short", 100, identity={"scale": 8})
    short.best.rename(short.last)
    assert find_teacher(tmp_path, {"scale": 8}).path == short.path
    short.last.unlink()
    assert find_teacher(tmp_path, {"scale": 8}) is None


def test_provenance_is_plain_and_complete():
    record = json.loads(json.dumps(provenance("demo", 3)))
    assert (record["experiment"], record["seed"]) == ("demo", 3)
    assert record["versions"]["torch"]
    assert record["command"].startswith("pkdn ")
    git = git_state()
    assert git is None or len(git["commit"]) == 40


def test_what_is_no_run_folder(tmp_path):
    with pytest.raises(CheckpointError, match="not a run folder"):
        open_run(tmp_path)


def test_a_folder_of_others_is_no_run_folder(tmp_path):
    run = RunFolder(tmp_path)
    assert run.foreign_file() is None
    run.write_results(RunStatus.FAILED, {"error": "it failed before it began"})
    assert run.foreign_file() is None
    run.results.write_text("mine")
    assert run.foreign_file() == "results.json"
    run.results.unlink()
    run.config.write_text("mine")
    assert run.foreign_file() == "config.yaml"
    run.provenance.write_text('{"id": "ab"}')
    assert run.foreign_file() is None
