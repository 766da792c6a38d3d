"""Runs of several degradations or scales: a report for each, and all of them side by side."""

import csv

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.report import report
from pkdn_lightning.report.contents import TaskReports
from pkdn_lightning.report.rows import collect
from pkdn_lightning.report.tasks import draw_tasks, tasks_of


@pytest.fixture
def two_tasks(make_run):
    """A teacher, two seeds of PKDN and of the plain student, trained for either of two degradations."""
    for name, changes in (("", []), ("other_", ["data.degradation=matlab"])):
        teacher = make_run(f"teacher_{name}", *changes)
        for seed in (0, 1):
            make_run(f"{name}pkdn{seed}", f"seed={seed}", *changes, teacher=teacher)
            make_run(f"{name}plain{seed}", f"seed={seed}", *changes)


def test_each_task_has_a_report_and_its_rows_stand_side_by_side(two_tasks, config):
    found = report(config("faces=1"))
    assert isinstance(found, TaskReports)
    assert list(found.reports) == ["bicubic", "matlab"]
    labels = ["PKDN student, no distillation", "PKDN", "PKDN teacher"]
    for name, single in found.reports.items():
        assert [row.label for row in single.subject.rows] == labels  # without the degradation, which all of them share
        assert (found.folder / name / "report.html").is_file()

    with (found.folder / "tasks.csv").open(newline="") as file:
        rows = {(row["task"], row["method"]): row for row in csv.DictReader(file)}
    assert len(rows) == 2 * 4
    assert rows["matlab", "PKDN student, no distillation"]["psnr_gain"] == ""
    measured = found.reports["matlab"].subject.measured
    gain = np.mean(
        [
            one["celeba"][seed].psnr - other["celeba"][seed].psnr
            for one, other in [(measured["PKDN"], measured["PKDN student, no distillation"])]
            for seed in (0, 1)
        ]
    )
    assert float(rows["matlab", "PKDN"]["psnr_gain"]) == pytest.approx(gain)
    assert rows["matlab", "PKDN"]["psnr_gain_common_seeds"] == "2"

    page = (found.folder / "report.md").read_text()
    assert "[bicubic](bicubic/report.md), [matlab](matlab/report.md)" in page
    assert "| PKDN teacher |" in page
    assert "PSNR minus that of PKDN student, no distillation" in page
    with Image.open(found.folder / "tasks.png") as drawn:
        assert drawn.width > 300


def test_scales_and_strengths_are_tasks_of_their_own(make_run):
    make_run("x4")
    make_run("x8", "data.scale=8", "model.scale=8")
    make_run("again", "data.scale=8", "model.scale=8", "seed=1")
    assert {task.name for task in tasks_of(collect("runs").rows, 32)} == {"bicubic_x4", "bicubic_x8"}
    blind = {"data.degradation": "blind"}
    for name, noise in (("weak", 3), ("strong", 9)):
        make_run(name, *(f"{key}={value}" for key, value in blind.items()), f"data.blind.noise=[1,{noise}]")
    names = {task.name for task in tasks_of(collect("runs").rows, 32)}
    assert names == {"bicubic_x4", "bicubic_x8", "blind_x4", "blind_x4_2"}


def test_without_gains_there_is_no_figure(tmp_path):
    """As where each task has one untaught run: the figure would be empty, and one from before is out of date."""
    (tmp_path / "tasks.png").write_bytes(b"old")
    assert not draw_tasks({"celeba": {}}, tmp_path / "tasks.png")
    assert not (tmp_path / "tasks.png").exists()
