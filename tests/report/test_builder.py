"""The whole report: every file of it, what is measured once and what again, and what a user can do wrong."""

import csv
import dataclasses
import shutil
import time

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.batches import OrderedBatchSampler
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.evaluate.measure import measure
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.report import builder as building
from pkdn_lightning.report import measurements, report
from pkdn_lightning.report.faces import choose_faces, shown_rows
from pkdn_lightning.report.published_values import TABLE_1
from pkdn_lightning.report.rows import collect
from pkdn_lightning.report.table1 import SEES_DAMAGED, SEES_PARSING, quality_table
from pkdn_lightning.report.table2 import ablation, ablation_table, base_command, commands
from pkdn_lightning.report.tables import to_markdown
from tests.conftest import write_store
from tests.report.conftest import RunMaker


@pytest.fixture(autouse=True)
def _without_page(monkeypatch):
    monkeypatch.setattr(building, "render_page", lambda *_: "")  # test_page has the page


@pytest.fixture
def counted(monkeypatch):
    """Counts what is measured: titles of measured runs, and timed batches."""
    seen: list[str] = []

    def counting_measure(methods, *arguments):
        seen.append(arguments[-1])
        return measure(methods, *arguments)

    def counting_speed(*arguments):
        seen.append("speed")
        return 100.0

    monkeypatch.setattr(measurements, "measure", counting_measure)
    monkeypatch.setattr(measurements, "measure_speed", counting_speed)
    return seen


def write_runs(make_run):
    """Writes a teacher, two seeds of PKDN with different teachers' weights, and a plain student."""
    teacher = make_run("teacher")
    return [teacher, *(make_run(f"pkdn{seed}", f"seed={seed}", teacher=teacher) for seed in (0, 1)), make_run("plain")]


@pytest.fixture
def three_runs(make_run):
    return write_runs(make_run)


@pytest.fixture(scope="module")
def whole(_bases, _report_base, celeba, tmp_path_factory):
    """The report on these runs and an unfinished one; read only."""
    folder = tmp_path_factory.mktemp("whole")
    make = RunMaker(folder / "runs", celeba, _bases)
    write_runs(make)
    make("stopped", status="interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(building, "render_page", lambda *_: "")
        patch.setattr(measurements, "_LONGEST_S", 1e-9)
        return report(OmegaConf.merge(_report_base, {"out": str(folder / "report")}))


def read(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


class TestFiles:
    def test_everything_is_there_and_says_the_same(self, whole):
        names = {file.name for file in whole.folder.iterdir()}
        tables = {f"table{number}.{kind}" for number in (1, 2) for kind in ("md", "csv", "tex")}
        assert names >= {"report.md", "figure4.png", "per_image.csv", *tables}

        rows = {row["method"]: row for row in read(whole.folder / "table1.csv")}
        assert list(rows) == ["bicubic", "PKDN student, no distillation", "PKDN", "PKDN teacher"]
        values = read(whole.folder / "per_image.csv")
        assert len(values) == 5 * (1 + 4)
        per_seed = [
            [float(each["psnr_y"]) for each in values if (each["method"], each["seed"]) == ("PKDN", seed)]
            for seed in ("0", "1")
        ]
        assert float(rows["PKDN"]["psnr"]) == pytest.approx(np.mean(per_seed))
        assert float(rows["PKDN"]["psnr_std"]) == pytest.approx(np.std(np.mean(per_seed, axis=1), ddof=1))
        assert rows["PKDN"]["psnr_gain"] == rows["PKDN student, no distillation"]["psnr_std"] == ""
        plain = [float(each["psnr_y"]) for each in values if each["method"] == "PKDN student, no distillation"]
        gain = float(rows["PKDN student, no distillation"]["psnr_gain"])
        assert gain == pytest.approx(np.mean(plain) - np.mean(per_seed[0]), abs=1e-6)  # of the seed that both have
        assert float(rows["PKDN"]["psnr_low"]) <= float(rows["PKDN"]["psnr"]) <= float(rows["PKDN"]["psnr_high"])

        page = (whole.folder / "report.md").read_text()
        assert (whole.folder / "table1.md").read_text().rstrip() in page
        for said in (
            "Trained on celeba (13 faces); 6 steps of 4 faces",
            "sees the parsing map of the true face",
            "a teacher that sees parsing maps",
            "Wilcoxon signed-rank test, two-sided, Holm-corrected",
            f"PKDN | – | – | {float(rows['PKDN']['psnr']):.2f} ± {float(rows['PKDN']['psnr_std']):.2f}",
            "`runs/stopped`: interrupted",
            "Chosen by rule",
            "CPU threads: 1",
        ):
            assert said in page, said
        latex = (whole.folder / "table1.tex").read_text()
        assert latex.count(r"\toprule") == 2
        assert latex.count("{") == latex.count("}")

    def test_a_trained_run_is_measured_as_it_was_tested(self, config, trained_student):
        shutil.copytree(trained_student.run.path, "runs/plain")
        result = report(config())
        assert result.subject.reference == "PKDN student, no distillation"
        assert "the best method here: there is no PKDN run" in (result.folder / "report.md").read_text()
        found = result.subject.scores["faces"]["PKDN student, no distillation"]
        assert found.psnr.mean == pytest.approx(trained_student.metrics["test/faces/psnr_y"], abs=1e-5)
        assert found.ssim.mean == pytest.approx(trained_student.metrics["test/faces/ssim_y"], abs=1e-5)

    def test_several_test_sets(self, config, make_run, celeba, store):
        make_run("plain")
        sets = [f"data.test_stores.celeba={celeba.path}", f"data.test_stores.faces={store.path}"]
        result = report(config(*sets, "out=elsewhere", "faces=2"))
        assert result.folder.name == "elsewhere"
        titles = [table.title.partition(":")[0] for table in result.table1]
        assert titles == ["Table 1, celeba", "Table 1, faces", "Cost"]
        assert len(result.figure.faces) == 2


class TestCache:
    def test_a_second_report_measures_nothing_but_what_is_damaged(self, config, three_runs, counted):
        first = report(config())
        assert len([each for each in counted if each != "speed"]) == 5  # bicubic and four runs
        assert counted.count("speed") == 2 * 2  # students are alike; one at a time and eight
        counted.clear()
        written = (first.folder / "report.md").read_text()
        report(config())
        assert counted == []
        assert (first.folder / "report.md").read_text() == written
        file = three_runs[0].path / "per_image" / "celeba.json"
        for damaged in (file.read_text()[:99], file.read_text().replace("psnr_y", "psnr")):
            file.write_text(damaged)
            report(config())
            assert len(counted) == 1
            counted.clear()

    def test_what_changed_is_measured_again(self, config, three_runs, make_run, counted, tmp_path):
        report(config())
        counted.clear()
        make_run.write_checkpoint(three_runs[1], seed=9)
        report(config())
        assert len(counted) == 1
        assert "PKDN, seed 0" in counted[0]
        counted.clear()
        other = write_store(tmp_path / "other" / "celeba", counts={"train": 1, "val": 1, "test": 2})
        report(config(f"data.test_stores.celeba={other.path}"))
        assert len([each for each in counted if each != "speed"]) == 5

    def test_speed_is_a_batch_over_the_time_of_a_pass(self, monkeypatch):
        class Waiting(SRNetwork):
            uses_parsing = True

            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def forward(self, lr, parsing):
                assert (tuple(lr.shape), tuple(parsing.shape)) == ((2, 3, 8, 8), (2, 5, 32, 32))
                time.sleep(0.02)

        net = Waiting()
        monkeypatch.setattr(measurements, "_LONGEST_S", 0.2)
        assert 20 < measurements.measure_speed(net, 8, 5, 4, batch=2) <= 100


class TestPublished:
    def test_published_stands_beside_measured(self, whole):
        subject = dataclasses.replace(whole.subject, scale=8)
        table = quality_table(subject, "celeba")
        cells = {row[0].text: [cell.text for cell in row[1:]] for row in table.sections[0].rows}
        assert list(cells) == [
            *("bicubic", "URDGN", "FSRNet", "DIC", "DICGAN", "SISN", "SPARNet", "KDFSRNet"),
            *("PKDN student, no distillation", "PKDN"),
        ]
        assert cells["PKDN"][:2] == ["27.56", "0.8062"]
        assert cells["bicubic"][:2] == ["23.58", "0.6285"]
        assert cells["SPARNet"][2] == "not run"
        assert "on 1,000 test faces of their own crops (here 5)" in to_markdown(table)
        # Another scale, or a test set of another name, has none.
        assert not dataclasses.replace(subject, scale=4).published("celeba")
        assert not subject.published("faces")
        assert subject.published("helen_crops") is TABLE_1["helen"]

    def test_best_and_second_are_marked_among_comparable_methods(self, whole):
        subject = whole.subject
        rows = quality_table(subject, "celeba").sections
        assert sorted(row[3].place for row in rows[0].rows) == [0, 1, 2]
        best = max(rows[0].rows, key=lambda row: subject.scores["celeba"][row[0].text].psnr.mean)
        assert best[3].place == 1
        assert [row[3].place for row in rows[1].rows] == [0]

    def test_damaged_maps_are_called_so(self, config, make_run):
        make_run("plain")
        for damage in ("none", "blurred", "empty", "other"):
            make_run(f"teacher_{damage}", f"data.parsing_damage={damage}")
        result = report(config())
        for table in result.table1:
            shown = {section.title: [row[0].text for row in section.rows] for section in table.sections}
            comparable, whole, damaged = shown.values()
            assert list(shown)[1:] == [SEES_PARSING, SEES_DAMAGED]
            assert [name[-12:] for name in (*whole, *damaged)] == ["damage=none)", "age=blurred)"]
            assert {"PKDN teacher (parsing_damage=empty)", "PKDN teacher (parsing_damage=other)"} <= set(comparable)


class TestTable2:
    def test_rows_are_found_by_the_teachers_options(self, config, make_run):
        whole, bare = make_run("teacher"), make_run("teacher_bare", "model.pfb=false", "model.ffb=false")
        make_run("teacher_pfb", "model.ffb=false")
        make_run("full", teacher=whole)
        make_run("without", "teacher.model.pfb=false", "teacher.model.ffb=false", teacher=bare)
        make_run("plain")
        result = report(config())
        lines = ablation(result.subject.rows)
        assert [line.variant for line in lines] == [(False, False), (True, False), (True, True), (False, True)]
        assert [bool(line.student) for line in lines] == [True, False, True, False]
        assert [line.teacher and line.teacher.runs[0].folder.path.name for line in lines] == [
            *("teacher_bare", "teacher_pfb", "teacher", None)
        ]
        assert result.subject.reference == lines[2].student.label == "PKDN"
        assert lines[0].student.label == "PKDN, teacher without PFB and FFB"
        rows = read(result.folder / "table2.csv")
        assert [row["student"] == "not run" for row in rows] == [False, True, False, True]
        scores = result.subject.scores["celeba"]
        gain = scores[lines[0].student.label].psnr.mean - scores[lines[2].student.label].psnr.mean
        assert float(rows[0]["psnr_gain"]) == pytest.approx(gain)
        text = (result.folder / "table2.md").read_text()
        assert text.count("not run") == 2 + 1  # students of two variants, one teacher
        assert "pkdn train experiment=student data=celeba teacher.model.ffb=false seed=0\n" in text
        assert "pkdn train experiment=student data=celeba teacher.model.pfb=false seed=0\n" in text
        table = ablation_table(dataclasses.replace(result.subject, scale=8), "celeba")
        assert [row[3].text for row in table.sections[0].rows] == [
            *("27.31 / 0.7961", "27.48 / 0.8036", "27.56 / 0.8062", "–")
        ]

    def test_rows_of_a_sweep_of_weights_are_left_out(self, make_run):
        whole, bare = make_run("teacher"), make_run("teacher_bare", "model.pfb=false", "model.ffb=false")
        for weight in (0.01, 0.1, 1):
            make_run(f"weight{weight}", f"objective.ts.weight={weight}", teacher=whole)
        lines = ablation(collect("runs").rows)
        assert [line.student is not None for line in lines] == [False, False, True, False]  # one for all three
        off = ("teacher.model.pfb=false", "teacher.model.ffb=false")
        make_run("without", *off, "objective.ts.weight=0.1", teacher=bare)
        without, _, full, _ = ablation(collect("runs").rows)
        assert without.full == full.student
        assert full.student.settings["objective.ts.weight"] == 0.1

    def test_commands_are_those_of_the_run_that_is_there(self, make_run):
        run = make_run("full", teacher=make_run("teacher"))
        (row,) = (row for row in collect("runs").rows if row.method == "PKDN")
        typed = "pkdn train experiment=student_small run_dir=x seed=3 trainer.max_steps=9 teacher.checkpoint=y"
        row.runs[0].results["command"] = typed
        found = commands(ablation([row]))
        head = "pkdn train experiment=student_small trainer.max_steps=9"
        pfb, ffb = "teacher.model.pfb=false", "teacher.model.ffb=false"
        assert found == [f"{head} {off} seed=0" for off in (f"{pfb} {ffb}", ffb, pfb)]
        compose("train", found[0].split()[2:])  # what is said to be typed can be typed
        assert run.path.is_dir()

    def test_commands_have_the_seeds_of_the_row_they_are_compared_with(self, make_run):
        teacher = make_run("teacher")
        for seed in (1, 4):
            make_run(f"full{seed}", f"seed={seed}", teacher=teacher)
        (row,) = (row for row in collect("runs").rows if row.method == "PKDN")
        for run in row.runs:
            run.results["command"] = f"pkdn train experiment=student seed={run.seed} trainer.max_steps=9"
        off = "teacher.model.pfb=false teacher.model.ffb=false"
        head = "pkdn train -m experiment=student trainer.max_steps=9"
        assert commands(ablation([row]))[0] == f"{head} {off} seed=1,4"

    def test_a_command_keeps_the_teacher_that_a_row_has(self, make_run):
        teachers = [make_run(f"teacher{seed}", f"seed={seed}", "model.ffb=false") for seed in (0, 1)]
        typed = "pkdn train experiment=student teacher.model.ffb=false teacher.checkpoint=y"
        for name, own in (("shared", teachers[:1] * 2), ("own", teachers)):
            for seed, teacher in enumerate(own):
                make_run(f"{name}{seed}", f"seed={seed}", f"optimizer.lr={len(name)}", teacher=teacher)
        rows = {row.runs[0].folder.path.name: row for row in collect("runs").rows if row.distilled}
        for row in rows.values():
            row.best.results["command"] = typed
        assert base_command(rows["shared0"]) == typed.split()
        assert base_command(rows["own0"]) == typed.split()[:-1]

    def test_nothing_run_at_all(self):
        assert commands(ablation([]))[2] == "pkdn train experiment=student data=celeba"

    def test_no_student_of_a_teacher_at_all(self, make_run):
        make_run("plain", "data.name=portraits", "size=reduced")
        rows = collect("runs").rows
        assert commands(ablation(rows), rows)[2] == "pkdn train experiment=student data=portraits size=reduced"

    def test_students_of_several_teachers_are_compared_with_those_of_their_own(self, make_run):
        off = ("model.pfb=false", "model.ffb=false")
        own = [make_run(f"teacher{seed}", f"seed={seed}") for seed in (0, 1, 2)]
        bare = [make_run(f"teacher_bare{seed}", f"seed={seed}", *off) for seed in (0, 1, 2)]
        for seed in (0, 1, 2):
            make_run(f"full{seed}", f"seed={seed}", teacher=own[seed])
            make_run(f"without{seed}", f"seed={seed}", *(f"teacher.{each}" for each in off), teacher=bare[seed])
        for seed in (1, 2):
            make_run(f"shared{seed}", f"seed={seed}", teacher=own[0])
        off_shared = [f"teacher.{each}" for each in off]
        make_run("without_shared", "seed=1", *off_shared, teacher=bare[0])
        lines = [line for line in ablation(collect("runs").rows) if line.student]
        found = {tuple(run.folder.path.name for run in line.student.runs): line.full for line in lines}
        found = {own: [run.folder.path.name for run in full.runs] for own, full in found.items()}
        each, shared = ["full0", "full1", "full2"], ["full0", "shared1", "shared2"]
        assert found == {
            tuple(each): each,
            tuple(shared): shared,
            ("without0", "without1", "without2"): each,
            ("without0", "without_shared"): shared,
        }


class TestFigure:
    def test_size_and_columns(self, whole):
        figure = whole.figure
        assert figure.columns == ("LR", "bicubic", "PKDN student, no distillation", "PKDN", "HR")
        image = Image.open(figure.file)
        assert image.size[0] == 5 * 128 + 4 * 4  # five columns of 32 px, enlarged four times, and gaps
        pitch = 128 + 14 + 14 // 3 + 4
        assert 0 < image.size[1] - 5 * pitch <= 3 * 18 + 4  # five faces below a title of up to three lines

    def test_the_rule_chooses_the_faces(self, whole, celeba):
        scores = whole.subject.scores["celeba"]
        gain = scores["PKDN"].faces.psnr - scores["bicubic"].faces.psnr
        expected = [scores["PKDN"].faces.names[face] for face in np.argsort(gain)]
        assert list(whole.figure.faces) == expected  # five of five, by gain
        assert "percentiles 10, 30, 50, 70, 90 of the PSNR gain of PKDN over bicubic" in whole.figure.caption
        last = np.asarray(Image.open(whole.figure.file))[:, -128:]
        (plan,) = OrderedBatchSampler(celeba.indices("test"), 9)
        truth = celeba.hr[plan.row[np.argmin(gain)]].repeat(4, 0).repeat(4, 1)
        top = next(y for y in range(80) if np.array_equal(last[y : y + 128], truth))
        assert top > 0

    def test_percentiles(self):
        gain = np.random.default_rng(0).permutation(100).astype(float)
        assert [gain[face] for face in choose_faces(gain, 5)] == [10, 30, 50, 70, 90]
        assert len(choose_faces(gain[:3], 5)) == 3

    def test_one_row_of_each_method_and_no_teacher(self, make_run):
        teacher = make_run("teacher")
        make_run("pkdn", teacher=teacher)
        make_run("plain")
        make_run("narrow", "model.width=4", "seed=7")
        rows = collect("runs").rows
        shown = shown_rows(rows, "PKDN")
        assert [row.method for row in shown] == ["PKDN student, no distillation", "PKDN"]
        assert shown[0].settings["model.width"] == 4  # validated better
        assert [row.method for row in shown_rows(rows[-1:], rows[-1].label)] == [rows[-1].method]


class TestErrors:
    def test_a_missing_test_store(self, config, make_run):
        make_run("plain")
        message = r"Test set 'helen': No store at gone.*\n.*data\.test_stores\.helen=<store>"
        with pytest.raises(DataError, match=message):
            report(config("data.test_stores.helen=gone"))

    def test_stores_of_one_name(self, config, make_run, store):
        make_run("plain")
        make_run("other", f"data.store={store.path}", "seed=1")
        with pytest.raises(ConfigError, match=r"different stores called 'celeba'.*\n.*data.test_stores.celeba="):
            report(config())

    def test_a_teacher_on_a_store_without_maps(self, config, make_run, bare_store):
        make_run("teacher")
        with pytest.raises(DataError, match="no parsing maps"):
            report(config(f"data.test_stores.bare={bare_store.path}"))

    def test_no_faces(self, config):
        with pytest.raises(ConfigError, match="at least one face"):
            report(config("faces=0"))
