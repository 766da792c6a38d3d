"""What is done stays done, over kills and other settings."""

import os
from dataclasses import replace

import pytest

from pkdn_lightning.errors import DataError
from pkdn_lightning.predict.manifest import FILE, Manifest, Row

ROW = Row("in/a.png", "12", "a.png", model_sha256="ab", settings={"mode": "auto"}, metrics={"psnr_y": 20.5})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    Manifest(tmp_path).add(ROW)
    return tmp_path


@pytest.mark.parametrize("change", [{"sha256": "13"}, {"model_sha256": "cd"}, {"settings": {"mode": "lr"}}])
def test_what_is_done_is_found_again_and_other_work_is_not(folder, change):
    assert Manifest(folder).find(replace(ROW, metrics={}, seconds=3.0)) == ROW
    assert Manifest(folder).find(replace(ROW, **change)) is None
    (folder / "a.png").unlink()
    assert Manifest(folder).find(ROW) is None


def test_what_failed_is_tried_again_and_the_last_line_counts(folder):
    other = replace(ROW, input="in/b.png", output="b.png")
    (folder / "b.png").write_bytes(b"x")
    Manifest(folder).add(replace(other, status="failed", error="truncated"))
    assert Manifest(folder).find(other) is None
    Manifest(folder).add(other)
    assert Manifest(folder).find(other) == other


def test_a_failure_hides_no_result(folder):
    Manifest(folder).add(replace(ROW, status="failed", error="exists and is kept"))
    assert Manifest(folder).find(ROW) == ROW


def test_names_of_any_kind_are_found_again(folder):
    for name in ("süß, 顔.png", "line\nbreak\u2028.png", os.fsdecode(b"undecodable \xff.png")):
        row = replace(ROW, input=f"in/{name}", output=name)
        (folder / name).write_bytes(b"x")
        Manifest(folder).add(row)
        assert Manifest(folder).find(row) == row


@pytest.mark.parametrize("line", ['{"input": "a"}', '{"input": "a", "sha256": "b", "output": ["c"]}', "[1]", "\0"])
def test_a_foreign_line_is_passed_over(folder, line):
    with (folder / FILE).open("a") as file:
        file.write(line + "\n")
    assert Manifest(folder).find(ROW) == ROW


def test_a_torn_line_costs_that_line_only(folder):
    with (folder / FILE).open("a") as file:
        file.write('{"input": "in/b')
    Manifest(folder).add(replace(ROW, output="c.png"))
    assert sorted(Manifest(folder).rows) == ["a.png", "c.png"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Nothing can be written to output="):
        Manifest(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(DataError, match="Permission denied"):
        Manifest(tmp_path / "out")
