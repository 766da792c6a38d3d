"""From run folders to rows: names, seeds, settings, and nothing dropped in silence."""

import json
import os
import shutil

import pytest
from omegaconf import OmegaConf

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.files import file_sha256, write_json
from pkdn_lightning.report.methods import is_ablation, is_teacher, method_name, rank, taught_with
from pkdn_lightning.report.rows import collect
from pkdn_lightning.report.settings import differing, labels
from pkdn_lightning.runs import RunFolder


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
    assert taught_with(fsrnet, None) == supervision
    assert taught_with(config("pkdn.PKDNStudent"), {}) == "a teacher that sees parsing maps"
    assert taught_with(config("rcan.RCAN"), None) == ""
    twin = config("pkdn.PKDNStudent", teacher={"model": {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent"}})
    assert taught_with(twin, twin["model"]) == "a teacher that sees LR faces only"
    named = {"_target_": "pkdn_lightning.networks.pkdn.PKDNTeacher"}  # by teacher.checkpoint, which wins
    assert taught_with(twin, named) == "a teacher that sees parsing maps"
    assert method_name(twin, twin["model"]) == "PKDN, taught by a student"
    empty = config("pkdn.PKDNStudent", data={"parsing_damage": "empty"}, teacher=None)
    assert taught_with(empty, {}) == "a teacher that sees empty parsing maps"
    blurred = config("fsrnet.FSRNet", data={"parsing_damage": "blurred"}, objective={"parsing": term})
    assert taught_with(blurred, {}) == "blurred parsing maps, a teacher that sees blurred parsing maps"


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
    # What most have in common is left out, so that one row may have the bare name.
    assert labels([("A", each) for each in four]) == ["A", "A (d=1)", "A (c=1)", "A (b=1)", "A (a=1)"]
    silent = {"model.ffb": True}  # whose term has no weight: nothing is said of its schedule
    active = [silent | {"objective.fs.weight": 10.0, "objective.fs.duration": duration} for duration in (8, 9)]
    assert labels([("A", silent), ("A", active[0])]) == ["A (fs.weight=0)", "A (fs.weight=10)"]
    both = ["A (fs.weight=10, fs.duration=8)", "A (fs.weight=10, fs.duration=9)"]
    assert labels([("A", each) for each in (silent, *active)]) == ["A (fs.weight=0)", *both]
    assert labels([("A", silent), ("A", silent | {"x": 1})]) == ["A (x=none)", "A (x=1)"]
    own, teachers = {"optimizer.lr": 1, "teacher.optimizer.lr": 1}, {"optimizer.lr": 1, "teacher.optimizer.lr": 2}
    assert labels([("A", own), ("A", teachers)]) == ["A (teacher.lr=1)", "A (teacher.lr=2)"]
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


def folders(row) -> list[str]:
    return [run.folder.path.name for run in row.runs]


class TestSources:
    """Rows by what runs learned from and began with."""

    def students(self) -> dict[str, list[str]]:
        return {row.label: folders(row) for row in collect("runs").rows if row.distilled}

    def test_teachers_of_other_seeds_make_rows(self, make_run):
        teachers = [make_run(f"teachers/{name}", f"seed={seed}") for name, seed in (("A", 0), ("C", 5))]
        for name, teacher in zip("ac", teachers, strict=True):
            make_run(name, teacher=teacher)
        assert self.students() == {"PKDN (teacher.checkpoint=A)": ["a"], "PKDN (teacher.checkpoint=C)": ["c"]}
        assert not [each for each in collect("runs").left_out if each.path.name in "ac"]

    def test_teachers_that_were_trained_in_one_place_are_told_apart(self, make_run):
        teacher = make_run("teacher", "seed=5")
        first = make_run("first", teacher=teacher)
        old = json.loads(first.results.read_text())["teacher"]["sha256"]
        make_run.write_checkpoint(teacher, seed=9)
        new = json.loads(make_run("second", teacher=teacher).results.read_text())["teacher"]["sha256"]
        assert self.students() == {
            f"PKDN (teacher.checkpoint=teacher {old[:6]})": ["first"],
            f"PKDN (teacher.checkpoint=teacher {new[:6]})": ["second"],
        }

    def test_a_teacher_of_several_seeds_and_one_for_each(self, make_run):
        teachers = [make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 1, 2)]
        for seed in (1, 2):
            make_run(f"own{seed}", f"seed={seed}", teacher=teachers[seed])
        assert self.students() == {"PKDN": ["own1", "own2"]}
        for seed in (1, 2):
            make_run(f"shared{seed}", f"seed={seed}", teacher=teachers[0])
        make_run("weight", "objective.ts.weight=3", teacher=teachers[0])
        make_run("bare", "teacher.model.ffb=false", teacher=make_run("teacher_bare", "model.ffb=false"))
        assert self.students() == {
            "PKDN, teacher without FFB": ["bare"],
            "PKDN (teacher.checkpoint=each seed's own, ts.weight=0.1)": ["own1", "own2"],
            "PKDN (teacher.checkpoint=teacher0, ts.weight=0.1)": ["shared1", "shared2"],
            "PKDN (teacher.checkpoint=each seed's own, ts.weight=3)": ["weight"],
        }

    def test_a_teacher_trained_again_makes_no_row(self, make_run):
        old, new = make_run("teacher_old"), make_run("teacher_new")
        make_run.write_checkpoint(new, seed=9)
        os.utime(make_run("first", teacher=old).results, (1, 1))
        make_run("second", teacher=new)
        assert self.students() == {"PKDN": ["second"]}
        reasons = {each.path.name: each.reason for each in collect("runs").left_out}
        older = (
            "an older run of the settings and the seed of runs/second; it learned from another training of the teacher"
        )
        assert reasons["first"] == older

    @pytest.mark.parametrize(
        ("change", "shown"),
        [
            ("optimizer.lr=0.5", "teacher.lr=0.5"),
            ("data.parsing_dropout=0.5", "teacher.parsing_dropout=0.5"),
            ("data.flip_probability=0.25", "teacher.flip_probability=0.25"),
            ("trainer.max_steps=5", "teacher.max_steps=5"),
        ],
    )
    def test_teachers_of_other_trainings_make_rows(self, make_run, change, shown):
        teachers = make_run("teacher"), make_run("teacher_other", change)
        make_run.write_checkpoint(teachers[1], seed=9)
        for name, teacher in zip(("one", "other"), teachers, strict=True):
            make_run(name, teacher=teacher)
        found = self.students()
        assert sorted(found.values()) == [["one"], ["other"]]
        assert f"PKDN ({shown})" in found

    def test_how_a_teacher_was_named_kept_and_watched_makes_none(self, make_run):
        places = ("experiment=x", "tags=[a]", "threads=2", "data.num_workers=1", "trainer.val_check_interval=2")
        for seed, changes in enumerate(((), (*places, "trainer.precision=bf16-mixed", "method=mine"))):
            make_run(f"pkdn{seed}", f"seed={seed}", teacher=make_run(f"teacher{seed}", f"seed={seed}", *changes))
        assert self.students() == {"PKDN": ["pkdn0", "pkdn1"]}

    def test_a_row_stays_whole_when_the_teacher_of_one_seed_is_gone(self, make_run, tmp_path):
        teachers = [make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 1)]
        for seed, teacher in enumerate(teachers):
            make_run(f"pkdn{seed}", f"seed={seed}", teacher=teacher)
        teachers[1].path.rename(tmp_path / "gone")
        assert self.students() == {"PKDN": ["pkdn0", "pkdn1"]}

    def test_teachers_without_run_folders_are_told_apart(self, make_run, tmp_path):
        for name, seed in (("A", 0), ("C", 5)):
            folder = make_run(f"teacher{name}", f"seed={seed}")
            file = RunFolder(tmp_path / name).best
            file.parent.mkdir(parents=True)
            make_run(f"pkdn{name}", teacher=folder)
            named = {"path": str(folder.best.rename(file)), "sha256": file_sha256(file)}
            run = make_run.root / f"pkdn{name}" / "results.json"
            write_json(run, json.loads(run.read_text()) | {"teacher": named})
            shutil.rmtree(folder.path)
        assert list(self.students().values()) == [["pkdnA"], ["pkdnC"]]
        assert not collect("runs").left_out

    def test_first_weights_make_rows(self, make_run):
        first = [make_run(f"first{name}", f"seed={seed}") for name, seed in (("A", 4), ("C", 5))]
        make_run("a", f"module.init_from={first[0].path}")
        make_run("c", f"module.init_from={first[1].best}")
        make_run("included", "module.init_from=portraits_x4")
        other = make_run("first_other", "optimizer.lr=0.5", "seed=6")
        make_run("o", f"module.init_from={other.path}")
        found = {folders(row)[0]: row.label for row in collect("runs").rows}
        assert "init_from=firstA" in found["a"]
        assert "init_from=firstC" in found["c"]
        assert "init_from=true" in found["o"]
        assert set(found) == {"a", "c", "included", "o", "firstA", "first_other"}
        assert not collect("runs").left_out

    def test_first_weights_of_other_trainings_make_rows(self, make_run):
        for name, *changes in (("one",), ("other", "optimizer.lr=0.5")):
            first = make_run(f"teacher_{name}", *changes)  # not in the rows that are looked at
            make_run(name, f"module.init_from={first.path}")
        found = {row.label: folders(row) for row in collect("runs").rows if not row.reads_parsing}
        method = "PKDN student, no distillation"
        assert found == {f"{method} (init_from.lr=0.0001)": ["one"], f"{method} (init_from.lr=0.5)": ["other"]}

    def test_seeds_may_share_their_first_weights_or_have_their_own(self, make_run):
        first = [make_run(f"first{seed}", f"seed={seed}") for seed in (0, 1)]
        for seed in (0, 1):
            make_run(f"own{seed}", f"seed={seed}", f"module.init_from={first[seed].path}")
        assert sorted(folders(row) for row in collect("runs").rows) == [["first0", "first1"], ["own0", "own1"]]
        make_run("shared1", "seed=1", f"module.init_from={first[0].path}")
        make_run("shared2", "seed=2", f"module.init_from={first[0].path}")
        found = {row.settings["module.init_from"]: folders(row) for row in collect("runs").rows}
        own = "each seed's own"
        shared = ["own0", "shared1", "shared2"]
        assert found == {False: ["first0", "first1"], own: ["own0", "own1"], "first0": shared}

    def test_a_shared_teacher_keeps_the_seed_that_is_its_own(self, make_run):
        teachers = {seed: make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 5)}
        for number, teacher in teachers.items():
            for seed in (0, 1, 2):
                make_run(f"of{number}_{seed}", f"seed={seed}", teacher=teacher)
        assert self.students() == {
            f"PKDN (teacher.checkpoint=teacher{number})": [f"of{number}_{seed}" for seed in (0, 1, 2)]
            for number in teachers
        }
        assert not collect("runs").left_out

    def test_a_run_again_of_the_own_seed_counts_for_the_shared_teacher_too(self, make_run):
        teachers = [make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 1)]
        for seed in (0, 1):
            os.utime(make_run(f"shared{seed}", f"seed={seed}", teacher=teachers[0]).results, (1, 1))
            make_run(f"own{seed}", f"seed={seed}", teacher=teachers[seed])
        assert self.students() == {
            "PKDN (teacher.checkpoint=each seed's own)": ["own0", "own1"],
            "PKDN (teacher.checkpoint=teacher0)": ["own0", "shared1"],
        }
        assert [each.path.name for each in collect("runs").left_out] == ["shared0"]

    def test_the_weights_of_the_teacher_are_the_teacher_s(self, make_run):
        teacher = make_run("teacher")
        make_run("named", "module.init_from=teacher", teacher=teacher)
        make_run("path", "seed=1", f"module.init_from={teacher.path}", teacher=teacher)
        (row,) = (row for row in collect("runs").rows if row.distilled)
        assert folders(row) == ["named", "path"]
        assert row.settings["module.init_from"] == "teacher"


class TestUnused:
    """Settings that nothing reads."""

    @pytest.mark.parametrize(
        "change",
        [
            "data.parsing_damage_px=3",
            "data.heatmap_px=64",
            "objective.sr.duration=7",
            "objective.sr.unit=step",
            "objective.fs.duration=7",
            "objective.fs.schedule=constant",
            "model.ffb_skip=false",
            "model.ffb_first=true",
            "module.features={d3: body.2}",
            "teacher.features={d3: body.2}",
        ],
    )
    @pytest.mark.parametrize("distilled", [False, True])
    def test_they_make_no_row(self, make_run, change, distilled):
        teacher = make_run("teacher")
        for seed, changes in enumerate(((), (change,))):
            given = teacher if distilled else None
            make_run(f"run{seed}", f"seed={seed}", "objective.fs.weight=0", *changes, teacher=given)
        assert ["run0", "run1"] in [folders(row) for row in collect("runs").rows]

    def test_what_is_read_makes_rows(self, make_run):
        teacher = make_run("teacher")
        make_run("plain", teacher=teacher)
        for name, *changes in (
            ("px3", "data.parsing_damage=blurred", "data.parsing_damage_px=3"),
            ("px4", "data.parsing_damage=blurred", "data.parsing_damage_px=4"),
            ("duration", "objective.fs.duration=7"),
            ("layers", "teacher.features.d3=body.2"),
            ("teacher_student",),
            ("teacher_half", "data.parsing_dropout=0.5"),
        ):
            make_run(name, *changes, teacher=teacher)
        assert sorted(folders(row) for row in collect("runs").rows if row.distilled) == [
            ["duration"], ["layers"], ["plain"], ["px3"], ["px4"], ["teacher_half"], ["teacher_student"],
        ]  # fmt: skip

    def test_a_term_without_weight_is_none(self, make_run):
        teacher = make_run("teacher")
        make_run("zero", "objective.fs.weight=0", teacher=teacher)
        absent = make_run("absent", "seed=1", teacher=teacher)
        cfg = OmegaConf.load(absent.config)
        del cfg.objective["fs"]
        OmegaConf.save(cfg, absent.config)
        assert [folders(row) for row in collect("runs").rows if row.distilled] == [["zero", "absent"]]

    def test_arguments_that_blocks_alone_read(self, make_run):
        for seed, skip in enumerate((True, False)):
            make_run(f"teacher{seed}", f"seed={seed}", "model.ffb=false", f"model.ffb_skip={skip}")
        assert [folders(row) for row in collect("runs").rows] == [["teacher0", "teacher1"]]


class TestMaps:
    @pytest.mark.parametrize(
        ("damage", "bound", "words"),
        [
            ("none", True, "parsing maps"),
            ("shuffled", True, "shuffled parsing maps"),
            ("empty", False, "empty parsing maps"),
            ("other", False, "other faces' parsing maps"),
        ],
    )
    def test_a_bound_sees_the_map_of_the_true_face(self, make_run, damage, bound, words):
        make_run("teacher", f"data.parsing_damage={damage}")
        (row,) = collect("runs").rows
        assert row.reads_parsing is bound
        assert row.taught_with == f"{words}, which it also sees in use"


class TestErrors:
    def test_a_copy_of_a_run_is_called_so(self, make_run):
        run = make_run("first")
        write_json(run.results, json.loads(run.results.read_text()) | {"id": "1"})
        shutil.copytree(run.path, run.path.parent / "second")
        (left_out,) = collect("runs").left_out
        assert sorted([left_out.path.name, left_out.reason]) in (
            ["a copy of runs/first", "second"],
            ["a copy of runs/second", "first"],
        )

    def test_no_such_folder_and_no_finished_run(self, make_run):
        with pytest.raises(ConfigError, match="There is no folder nowhere"):
            collect("nowhere")
        make_run("stopped", status="interrupted")
        with pytest.raises(ConfigError, match=r"None of the 1 runs in runs can be reported. .*stopped: interrupted"):
            collect("runs")
