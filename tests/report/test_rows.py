"""From run folders to rows: names, seeds, settings, and nothing dropped in silence."""

import os

import pytest
from omegaconf import OmegaConf

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.report.methods import is_ablation, is_teacher, method_name, rank, taught_with
from pkdn_lightning.report.rows import collect
from pkdn_lightning.report.settings import differing, labels


def config(network: str, scheme: str = "StudentModule", **more):
    target = f"pkdn_lightning.networks.{network}"
    module = {"_target_": f"pkdn_lightning.modules.{scheme}"}
    return {"model": {"_target_": target}, "module": module, "data": {}, "objective": {}} | more


@pytest.mark.parametrize(
    ("network", "scheme", "distilled", "expected"),
    [
        ("pkdn.PKDNStudent", "StudentModule", True, "PKDN"),
        ("pkdn.PKDNStudent", "StudentModule", False, "PKDN student, no distillation"),
        ("pkdn.PKDNTeacher", "TeacherModule", False, "PKDN teacher"),
        ("kdfsrnet.KDFSRNetStudent", "StudentModule", True, "KDFSRNet"),
        ("kdfsrnet.KDFSRNetTeacher", "TeacherModule", False, "KDFSRNet teacher"),
        ("sparnet.SPARNet", "StudentModule", False, "SPARNet"),
        ("sisn.SISN", "StudentModule", False, "SISN"),
        ("dic.DIC", "StudentModule", False, "DIC"),
        ("dic.DIC", "AdversarialModule", False, "DICGAN"),
        ("fsrnet.FSRNet", "StudentModule", False, "FSRNet"),
        ("fsrnet.FSRNet", "AdversarialModule", False, "FSRGAN"),
        ("urdgn.URDGN", "AdversarialModule", False, "URDGN"),
        ("rcan.RCAN", "StudentModule", False, "RCAN"),
        ("rcan.RCAN", "AdversarialModule", False, "RCAN, adversarial"),
        ("sfmnet.SFMNet", "StudentModule", False, "SFMNet"),
        ("fishfsrnet.FishFSRNet", "StudentModule", False, "FishFSRNet"),
    ],
)
def test_methods_are_named_by_network_and_scheme(network, scheme, distilled, expected):
    assert method_name(config(network, scheme), {} if distilled else None) == expected


def test_the_ablation_bears_names_of_its_own():
    student, teacher = config("pkdn.PKDNStudent"), {"_target_": "pkdn_lightning.networks.pkdn.PKDNTeacher"}
    names = [
        method_name(student, teacher | options)
        for options in ({}, {"pfb": False}, {"pfb": False, "ffb": False}, {"_target_": "x.KDFSRNetTeacher"})
    ]
    without = ["PKDN, teacher without PFB", *["PKDN, teacher without PFB and FFB"] * 2]
    assert names == ["PKDN", *without]
    bare = {"model": teacher | {"ffb": False}, "module": {}}
    assert method_name(bare, None) == "PKDN teacher without FFB"
    assert [is_ablation(name) for name in names] == [False, True, True, True]
    assert is_teacher("PKDN teacher without FFB")
    assert not is_teacher("PKDN, teacher without FFB")


def test_rows_come_in_the_papers_order():
    expected = [
        *("bicubic", "URDGN", "SPARNet", "Mine", "KDFSRNet", "PKDN student, no distillation"),
        *("PKDN, teacher without PFB", "PKDN", "PKDN teacher without FFB"),
    ]
    assert sorted(sorted(expected), key=rank) == expected


def test_what_a_method_was_taught_with():
    term = {"term": {"_target_": "pkdn_lightning.losses.PriorEstimate", "prior": "parsing"}}
    fsrnet = config("fsrnet.FSRNet", "AdversarialModule", data={"heatmaps": "components"}, objective={"parsing": term})
    supervision = "parsing maps, component heatmaps from parsing maps, a discriminator"
    assert taught_with(fsrnet, distilled=False) == supervision
    assert taught_with(config("pkdn.PKDNStudent"), distilled=True) == "a teacher that sees parsing maps"
    assert taught_with(config("rcan.RCAN"), distilled=False) == ""
    twin = config("pkdn.PKDNStudent", teacher={"model": {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent"}})
    assert taught_with(twin, distilled=True) == "a teacher that sees LR faces only"
    assert method_name(twin, twin["teacher"]["model"]) == "PKDN, taught by a student"
    empty = config("pkdn.PKDNStudent", data={"parsing_damage": "empty"}, teacher=None)
    assert taught_with(empty, distilled=True) == "a teacher that sees empty parsing maps"


def test_labels_are_short_and_unique():
    assert labels([("A", {"x": 1}), ("B", {"x": 2})]) == ["A", "B"]
    narrow = {"model.width": 32, "teacher.width": 32, "trainer.max_steps": 500}
    wide = {"model.width": 64, "teacher.width": 64, "trainer.max_steps": 500}
    assert labels([("A", narrow), ("A", wide)]) == ["A (width=32)", "A (width=64)"]  # the teacher's says the same
    assert differing([narrow, wide, {**wide, "trainer.max_steps": 9}]) == ["model.width", "trainer.max_steps"]
    many = [{f"model.{key}": number for key in "bcde"} | {"model.a": [number] * 30} for number in range(2)]
    assert labels([("A", each) for each in many])[0] == "A (a=[0,0,0,0,0,0,0,0,…, b=0, c=0)"
    four = [
        {"model.a": a, "model.b": b, "model.c": c, "model.d": d}
        for a, b, c, d in ["0000", "0001", "0010", "0100", "1000"]
    ]
    assert len(set(named := labels([("A", each) for each in four]))) == 5
    assert named[1] == "A (a=0, b=0, c=0, d=1)"
    alike = [{"k": "x" * 40 + end} for end in "ab"]
    assert [name[-3:] for name in labels([("A", each) for each in alike])] == [" #1", " #2"]


class TestGrouping:
    def test_seeds_make_one_row_and_settings_several(self, make_run):
        teachers = [make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 1)]
        for seed in (0, 1):
            places = (f"seed={seed}", f"threads={seed + 1}", f"tags=[{seed}]", "data.num_workers=0", "experiment=x")
            make_run(f"pkdn{seed}", *places, teacher=teachers[seed])
        make_run("wide", "model.width=12", teacher=teachers[0])
        make_run("plain")
        make_run("ema", "callbacks.ema.decay=0.9")
        rows = {row.label: row for row in collect("runs").rows}
        assert [run.seed for run in rows["PKDN (width=8)"].runs] == [0, 1]
        assert rows["PKDN (width=8)"].best.seed == 1
        assert [run.seed for run in rows["PKDN (width=12)"].runs] == [0]
        assert [run.seed for run in rows["PKDN teacher"].runs] == [0, 1]
        assert rows["PKDN teacher"].reads_parsing
        assert len([label for label in rows if label.startswith("PKDN student, no distillation (")]) == 2
        assert rows["PKDN (width=8)"].runs[1].teacher.folder.samefile(teachers[1].path)

    def test_a_student_whose_terms_weigh_nothing_is_the_plain_one(self, make_run):
        make_run("plain", "seed=0")
        silent = make_run("silent", "seed=1")
        cfg = OmegaConf.load(silent.config)
        spent = {"schedule": "linear", "duration": 133, "unit": "step"}
        cfg.objective.fs = {"weight": 0.0, **spent, "start": 0, "term": {}}
        OmegaConf.save(cfg, silent.config)
        (row,) = collect(silent.path.parent).rows
        assert row.label == "PKDN student, no distillation"
        assert [run.seed for run in row.runs] == [0, 1]

    def test_an_option_that_came_later_does_not_split_a_row(self, make_run):
        make_run("new")
        old = make_run("old", "seed=1")
        saved = OmegaConf.load(old.config)
        del saved.module["gate"], saved.data["heatmaps"], saved.model["ffb_first"]
        OmegaConf.save(saved, old.config)
        assert [len(row.runs) for row in collect("runs").rows] == [2]

    def test_a_teacher_that_is_elsewhere_is_known_by_its_options(self, make_run, tmp_path):
        teacher = make_run("teacher", "model.pfb=false")
        make_run("pkdn", "teacher.model.pfb=false", teacher=teacher)
        teacher.path.rename(tmp_path / "gone")
        (row,) = collect("runs").rows
        assert (row.settings["teacher.pfb"], row.settings["teacher.ffb"]) == (False, True)
        assert row.runs[0].teacher.folder is None

    def test_what_is_left_out_is_said(self, make_run):
        old = make_run("old")
        make_run("new")
        make_run("stopped", status="interrupted")
        make_run("failed", status="")
        broken = make_run("broken")
        broken.config.unlink()
        make_run("empty").best.unlink()
        bare = make_run("bare")
        bare.results.write_text('{"status": "finished"}')
        os.utime(old.results, (1, 1))
        found = collect("runs")
        reasons = {run.path.name: run.reason for run in found.left_out}
        assert [run.folder.path.name for row in found.rows for run in row.runs] == ["new"]
        assert "has no checkpoint yet" in reasons["empty"]
        assert reasons["old"] == "an older run of the settings and the seed of runs/new"
        assert reasons["stopped"] == "interrupted"
        assert "still running, or it failed" in reasons["failed"]
        assert "config.yaml is missing" in reasons["broken"]
        assert "its results.json is damaged or of another origin: data is missing" in reasons["bare"]


class TestErrors:
    def test_no_such_folder_and_no_finished_run(self, make_run):
        with pytest.raises(ConfigError, match="There is no folder nowhere"):
            collect("nowhere")
        make_run("stopped", status="interrupted")
        with pytest.raises(ConfigError, match=r"None of the 1 runs in runs can be reported. .*stopped: interrupted"):
            collect("runs")
