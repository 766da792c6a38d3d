"""The page: that all of it is there, says what the tables say, and takes nothing from run folders for markup."""

import base64
import hashlib
import io
import re
from importlib.resources import files
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.config import conf_dir
from pkdn_lightning.report import atlas, measurements, report
from pkdn_lightning.report.faces import HR, LR, page_faces, restore_faces, to_uri
from pkdn_lightning.report.measurements import Faces
from pkdn_lightning.report.page.leaderboard import finding
from pkdn_lightning.report.page.panels import choose_colours
from pkdn_lightning.report.page.svg import COLOURS
from pkdn_lightning.report.scores import Difference, Mean, RowScores
from pkdn_lightning.report.table1 import OVER_SEEDS, OVER_SEEDS_NOTE
from pkdn_lightning.report.tasks import tasks_of
from tests.report.conftest import HOSTILE
from tests.report.pages import Node, parse

SECTIONS = ["leaderboard", "faces", "cost", "curves", "lambdas", "ablation", "missing", "runs"]


def page_of(result) -> Node:
    return parse((result.folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(rich_report) -> Node:
    return page_of(rich_report)


def board_of(page: Node, number: int) -> Node:
    return page.one("section", id="leaderboard").one("div", data_set=str(number)).one("table", class_="board")


class TestWhole:
    def test_every_section_is_there_and_linked(self, page):
        assert [section.attrs["id"] for section in page.all("section")] == SECTIONS
        links = [link.attrs["href"] for link in page.one("nav").all("a")]
        assert links == [f"#{name}" for name in SECTIONS]
        assert page.one("a", class_="skip").attrs["href"] == "#leaderboard"

    def test_no_id_comes_twice_and_every_reference_leads_somewhere(self, page):
        ids = [node.attrs["id"] for node in page.walk() if "id" in node.attrs]
        assert len(ids) == len(set(ids))
        for node in page.walk():
            for reference in re.findall(r"url\(#([^)]+)\)", " ".join(node.attrs.values())):
                assert reference in ids
            if node.attrs.get("xlink:href", "").startswith("#"):
                assert node.attrs["xlink:href"][1:] in ids

    def test_nothing_is_loaded_and_no_other_script_may_run(self, page):
        for node in page.walk():
            for key in ("src", "href", "xlink:href", "action", "srcset"):
                assert node.attrs.get(key, "#").startswith(("#", "data:")), node
            assert not [key for key in node.attrs if key.startswith("on")], node
        script = page.one("script").children[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = page.one("meta", http_equiv="Content-Security-Policy").attrs["content"]
        assert "default-src 'none'" in policy
        assert f"script-src 'sha256-{digest}'" in policy

    def test_the_first_screen_says_what_this_is(self, page, rich_report):
        first = page.one("header")
        assert "x4" in first.one("h1").text
        facts = {fact.one("dt").text: fact.one("dd").text for fact in first.one("dl").all("div")}
        assert facts["Compared"] == "9 rows of 11 runs, and bicubic"
        assert facts["Budget"] == "6 steps of 4 faces"
        assert "Y, border 8, 8-bit" in facts["Protocol"]
        assert facts["Measured on"] == f"celeba (5 faces), {HOSTILE} (5 faces)"
        findings = [line.text for line in first.all("p", class_="finding")]
        wanted = {name: finding(rich_report.subject, name) for name in rich_report.subject.scores}
        assert findings == [f"On 5 faces of {name}: {text}" for name, text in wanted.items()]

    def test_names_from_outside_stay_text(self, page):
        assert not page.all("img", src="x")
        runs = page.one("section", id="runs").text
        assert f"{HOSTILE}" in runs
        assert f"stopped{HOSTILE} : interrupted" in runs
        assert page.one("select", id="test-set").all("option")[1].text == HOSTILE

    def test_the_command_and_the_files_are_named(self, page):
        assert page.one("section", id="runs").all("code")[-1].text.startswith("pkdn report")

    def test_a_second_report_writes_the_same_page(self, config, make_run):
        make_run("plain")
        written = [(report(config()).folder / "report.html").read_text() for _ in range(2)]
        assert written[0] == written[1]


class TestLeaderboard:
    @pytest.mark.parametrize("number", [0, 1])
    def test_values_are_those_of_table_1(self, page, rich_report, number):
        board = board_of(page, number)
        columns = [column.text for column in board.one("thead").all("th")]
        wanted = {
            cells[0].text: [cell.text for cell in cells]
            for section in rich_report.table1[number].sections
            for cells in section.rows
            if cells[3].text != "not run"
        }
        shown = {row.attrs["data-label"]: row.all("td") for row in board.all("tr", data_label=None)}
        assert set(shown) == set(wanted)
        for label, cells in shown.items():
            found = dict(zip(columns[1:], cells, strict=True))
            told = [
                found[name].one("b").text
                for name in ("PSNR (dB)", "SSIM", "Δ PSNR (dB)", OVER_SEEDS, "p (Holm)", "Seeds")
            ]
            assert told == [wanted[label][place] for place in (3, 5, 8, 10, 11, 7)]
            assert found["PSNR (dB)"].one("small").text == wanted[label][4]
            assert found["SSIM"].one("small").text == wanted[label][6]
            score = rich_report.subject.scores[list(rich_report.subject.scores)[number]][label]
            assert float(found["PSNR (dB)"].attrs["data-value"]) == pytest.approx(score.psnr.mean)
            assert ("data-value" in found["GMACs"].attrs) is (label != "bicubic")
            assert ("data-value" in found[OVER_SEEDS].attrs) is (found[OVER_SEEDS].text != "–")
        intervals = [wanted[label][10] for label in wanted if wanted[label][10] != "–"]
        assert len(intervals) == 1  # of the one row that has two seeds in common with the reference
        assert OVER_SEEDS_NOTE in page.one("section", id="leaderboard").text
        assert (
            intervals[0].replace(" to ", ", ")
            in page.one("section", id="ablation").one("div", data_set=str(number)).text
        )

    def test_what_sees_the_map_stands_apart(self, page, rich_report):
        comparable, bounds = board_of(page, 0).all("tbody")
        teachers = {row.label for row in rich_report.subject.rows if row.reads_parsing}
        assert {row.attrs["data-label"] for row in bounds.all("tr", data_label=None)} == teachers
        assert "not comparable" in bounds.one("tr", class_="section").text
        rows = comparable.all("tr", data_label=None)
        values = [float(row.all("td")[0].attrs["data-value"]) for row in rows]
        assert values == sorted(values, reverse=True)
        assert "bicubic" in [row.attrs["data-label"] for row in rows]

    def test_every_column_has_a_button_and_the_test_is_named(self, page):
        assert "Wilcoxon signed-rank test, two-sided" in page.one("section", id="leaderboard").text
        heads = board_of(page, 0).one("thead").all("th")
        assert all(len(head.all("button")) == 1 for head in heads)
        assert [head.attrs["aria-sort"] for head in heads if "aria-sort" in head.attrs] == ["descending"]


class TestPlots:
    def test_curves_and_terms_are_drawn_and_silence_is_named(self, page, rich_report):
        section = page.one("section", id="curves")
        validation = section.all("svg")[0]
        drawn = [row.label for row in rich_report.subject.rows if not row.reads_parsing]
        for label in drawn:
            assert label in validation.attrs["aria-label"]
        assert any(node.text.startswith("bicubic ") for node in validation.all("text"))
        assert [code.text for code in section.all("code")] == ["sr", "fs", "ts"]
        assert "Without a readable metrics.csv" in section.text
        assert "PKDN teacher without FFB" in section.all("p", class_="note")[-1].text

    def test_a_row_has_one_colour_everywhere(self, page, rich_report):
        places = {button.text: button.attrs["data-row"] for button in page.one("section", id="cost").all("button")}
        assert len(places) == len(rich_report.subject.rows)
        for number in (0, 1):
            for row in board_of(page, number).all("tr", data_label=None):
                if row.attrs["data-label"] != "bicubic":
                    swatch = row.all("span", class_="swatch")[0].attrs["style"]
                    assert swatch == f"--own: var(--row-{places[row.attrs['data-label']]})"
        for svg in page.all("svg"):
            for series in svg.all("g", data_row=None):
                styles = " ".join(node.attrs.get("style", "") for node in series.walk() if node.tag != "text")
                used = set(re.findall(r"--row-(\d+)", styles))
                assert used <= {series.attrs["data-row"]}

    def test_letters_are_text_in_the_page_s_font(self, page):
        svg = page.one("section", id="cost").all("svg")[0]
        assert "MACs (billions per face)" in [text.text for text in svg.all("text")]
        assert all("font-family" not in text.attrs["style"] for text in svg.all("text"))
        assert "#0" not in " ".join(node.attrs.get("style", "") for node in svg.walk())

    def test_colours_can_be_seen_in_light_and_dark(self):
        style = files("pkdn_lightning.report").joinpath("templates/page.css").read_text()
        light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split("@media")[:2])
        for names in (light, dark):
            for place in range(COLOURS):
                assert contrast(names[f"row-{place}"], names["panel"]) >= 3.0, place
            for text in ("ink", "muted", "accent"):
                for ground in ("paper", "panel", "soft"):
                    assert contrast(names[text], names[ground]) >= 4.5, (text, ground)


class TestSettings:
    def test_the_grid_says_what_was_measured_and_what_is_missing(self, page, rich_report):
        section = page.one("section", id="lambdas")
        table = section.one("div", data_set="0").one("table", class_="heat")
        assert [head.text for head in table.one("thead").all("th")] == ["λ FS = 0", "λ FS = 10"]
        cells = {row.one("th").text: [cell.text for cell in row.all("td")] for row in table.one("tbody").all("tr")}
        assert list(cells) == ["λ TS = 0", "λ TS = 0.1", "λ TS = 1"]
        scores = rich_report.subject.scores["celeba"]
        reference = scores[rich_report.subject.reference].psnr
        assert cells["λ TS = 0.1"][1].startswith(f"{reference.mean:.2f} ± {reference.std:.2f} dB")
        assert "n = 2" in cells["λ TS = 0.1"][1]
        plain = scores["PKDN student, no distillation"].psnr.mean
        assert cells["λ TS = 0"][0].startswith(f"{plain:.2f} dB")

    def test_effects_are_those_of_one_setting(self, page, rich_report):
        section = page.one("section", id="ablation").one("div", data_set="0")
        told = section.all("svg")[0].attrs["aria-label"]
        for setting in ("teacher.ffb: true → false", "ts.weight: 0.1 → 0", "fs.weight: 10 → 0", "distillation: with"):
            assert setting in told
        gain = rich_report.subject.scores["celeba"]["PKDN student, no distillation"].psnr_gain
        assert f"distillation: with → without: {gain.mean:+.3f}".replace("-", "−") in told
        assert "model.ffb: true → false" in section.all("svg")[-1].attrs["aria-label"]
        assert "Table 2, celeba" in section.text

    def test_what_is_missing_comes_with_commands_that_compose(self, page):
        section = page.one("section", id="missing")
        titles = [title.text for title in section.all("h3")]
        assert "Teachers of Table 2 without a student" in titles
        assert "Rows of a single seed, which have no ± over trainings" in titles
        commands = [code.text for code in section.all("code")]
        experiments = {word.partition("=")[2] for line in commands for word in line.split() if "experiment=" in word}
        assert experiments
        assert all((conf_dir() / "experiment" / f"{name}.yaml").is_file() for name in experiments)
        assert any("-m" in line and line.endswith("seed=1,2") for line in commands)
        assert all(" seed=" in line for line in commands)


class TestFaces:
    def test_every_row_restores_the_same_faces(self, page, rich_report, celeba):
        viewer = page.one("section", id="faces").one("div", class_="viewer", data_set="0")
        galleries = viewer.all("div", class_="gallery")
        assert [gallery.attrs["data-name"] for gallery in galleries] == list(rich_report.figure.faces[:3])
        labels = [row.label for row in rich_report.subject.rows]
        for gallery in galleries:
            names = [button.one("span").text for button in gallery.all("button")]
            assert names == [LR, "bicubic", *labels, HR]
        last = galleries[0].all("img")[-1].attrs["src"]
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(last.partition(",")[2]))))
        names = [entry.name for entry in celeba.entries]
        assert np.array_equal(shown, celeba.hr[names.index(galleries[0].attrs["data-name"])])

    def test_psnr_is_that_of_the_face(self, page, rich_report):
        gallery = page.one("div", class_="viewer", data_set="0").all("div", class_="gallery")[1]
        faces = rich_report.subject.scores["celeba"]["bicubic"].faces
        psnr = faces.psnr[faces.names.index(gallery.attrs["data-name"])]
        assert gallery.all("button")[1].one("small").text == f"{psnr:.2f} dB"

    def test_controls_are_labelled(self, page):
        viewer = page.all("div", class_="viewer")[0]
        assert [label.text.split(" ")[0] for label in viewer.all("label")] == ["Divider", "Left", "Right"]
        assert viewer.one("input", type="range").attrs["max"] == "100"
        assert all("alt" in image.attrs for image in page.all("img"))

    def test_images_keep_to_a_budget(self, rich_report, celeba, store):
        ((_, spec, _),) = tasks_of(rich_report.subject.rows, 8)
        stores = {"celeba": celeba, HOSTILE: store}
        measured = measurements.Measurements(spec, stores, torch.device("cpu"), rich_report.folder)
        restored = restore_faces(rich_report.subject, measured, 3)
        for budget, shown in ((10**9, [3, 3]), (120_000, [1, 1]), (1, [1])):
            found = page_faces(restored, budget)
            assert [len(faces.names) for faces in found.values()] == shown
            images = [image for faces in found.values() for images in faces.images.values() for image in images]
            assert sum(len(to_uri(image)) for image in images) <= budget or shown == [1]
        assert found["celeba"].names == [rich_report.figure.faces[1]]  # of three, the one in the middle


class TestLittle:
    def test_one_run_without_curves(self, config, make_run, monkeypatch):
        make_run("plain")
        monkeypatch.setattr(atlas, "SCALE", 4)  # that of these runs
        result = report(config("faces=1"))
        page = page_of(result)
        sections = [*SECTIONS[:4], "published", *SECTIONS[5:]]
        assert [section.attrs["id"] for section in page.all("section")] == sections
        assert [link.attrs["href"] for link in page.one("nav").all("a")] == [f"#{name}" for name in sections]
        assert "over seeds and faces" not in page.one("section", id="leaderboard").text
        published = page.one("section", id="published")
        assert "27.56 (PKDN)" in published.one("table").text
        assert "measured here" in published.one("svg").attrs["aria-label"]
        assert "## Published values" in (result.folder / "report.md").read_text(encoding="utf-8")
        assert "No run logged PSNR on validation faces." in page.text
        assert "No two rows of one network differ in one setting only." in page.text
        assert not page.all("select", id="test-set")

    def test_a_damaged_log_is_named(self, config, make_run):
        make_run("plain").metrics.write_bytes(b"step,val/psnr_y\n\xff\xfe,,,\n\x00")
        assert "Without a readable metrics.csv, and so without curves: PKDN student" in page_of(report(config())).text

    def test_a_network_that_diverged_comes_last_and_spoils_nothing(self, config, make_run):
        teacher = make_run("teacher")
        make_run("pkdn", teacher=teacher)
        run = make_run("broken", "optimizer.lr=9.0", teacher=teacher)
        state = torch.load(run.best)
        state["state_dict"] = {key: each * 1e30 for key, each in state["state_dict"].items()}
        torch.save(state, run.best)
        page = page_of(report(config("faces=1")))
        rows = board_of(page, 0).all("tbody")[0].all("tr", data_label=None)
        assert "lr=9" in rows[-1].attrs["data-label"]
        assert [("data-value" in row.all("td")[0].attrs) for row in rows] == [True, True, False]
        assert len(page.one("section", id="cost").all("svg")) == 3


class TestMany:
    def test_colours_go_to_the_reference_and_the_best_of_every_method(self):
        rows = [SimpleNamespace(label=f"{method} {n}", method=method) for method in ("A", "B") for n in range(30)]
        scores = {row.label: SimpleNamespace(psnr=SimpleNamespace(mean=n % 30)) for n, row in enumerate(rows)}
        chosen = choose_colours(rows, "A 0", scores)
        assert sorted(chosen.values()) == list(range(COLOURS))
        assert {"A 0", "A 29", "B 29"} <= set(chosen)
        assert choose_colours(rows[:3], "A 0", scores) == {"A 0": 0, "A 1": 1, "A 2": 2}


class TestFinding:
    @staticmethod
    def subject(values, **over_seeds):
        faces = Faces((), np.zeros(0), np.zeros(0))

        def score(label):
            gain = values[label] - values["PKDN"]
            difference = Difference(gain, gain - 0.1, gain + 0.1, 0.01, 0.01, **over_seeds.get(label, {}))
            mean = Mean(values[label], None, values[label] - 1, values[label] + 1)
            return RowScores(faces, mean, mean, *[difference if label != "PKDN" else None] * 2, 1)

        rows = [SimpleNamespace(label=label, reads_parsing=False) for label in values if label != "bicubic"]
        return SimpleNamespace(rows=rows, reference="PKDN", scores={"s": {each: score(each) for each in values}})

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"bicubic": 24, "PKDN": 25}, "PKDN is 1.00 dB above bicubic (95 % +0.90 to +1.10)."),
            ({"bicubic": 24, "PKDN": 25, "DIC": 24.5}, "25.00 dB PSNR, 0.50 dB above DIC (95 % +0.40 to +0.60);"),
            ({"bicubic": 24, "PKDN": 25, "DIC": 24.95}, "(95 % −0.05 to +0.15), which these faces cannot tell apart;"),
            ({"bicubic": 24, "PKDN": 25, "DIC": 26}, "DIC leads with 26.00 dB PSNR, 1.00 dB above PKDN"),
            ({"bicubic": 26, "PKDN": 25, "DIC": 24}, "No method beats bicubic (26.00 dB PSNR); the best, PKDN"),
        ],
    )
    def test_one_line(self, values, said):
        assert said in finding(self.subject(values), "s")

    def test_the_interval_over_seeds_and_faces_decides_where_there_is_one(self):
        wide = {"seeds_faces_low": -0.75, "seeds_faces_high": 0.5, "common_seeds": 2}
        told = finding(self.subject({"bicubic": 24, "PKDN": 25, "DIC": 24.5}, DIC=wide), "s")
        assert (
            "0.50 dB above DIC (95 % over seeds and faces −0.50 to +0.75), which these seeds and faces cannot" in told
        )
        assert "1.00 dB above bicubic (95 % +0.90 to +1.10)" in told


def contrast(one: str, other: str) -> float:
    """Contrast of two colours by WCAG 2."""

    def luminance(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
