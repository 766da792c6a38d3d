"""Published values: where each is from, what sources disagree by, and how they stand beside measured ones."""

from types import SimpleNamespace

import pytest

from pkdn_lightning.report.atlas import LINEAGES, MARKS, atlas_table, entries, measured_entries
from pkdn_lightning.report.page.plots import published_plot
from pkdn_lightning.report.published_values import PUBLISHED, TABLE_1, dataset_of, spread
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, Mean
from pkdn_lightning.report.tables import to_markdown
from tests.report.pages import parse


def subject(**scores: float):
    """What the atlas reads of a report: rows called like their methods, with these means on helen."""
    means = {label: SimpleNamespace(psnr=Mean(psnr, None, psnr - 0.2, psnr + 0.2)) for label, psnr in scores.items()}
    means[BASELINE.label] = SimpleNamespace(psnr=Mean(23.8, None, 23.6, 24.0))
    return SimpleNamespace(
        scale=8, scores=dict.fromkeys(("helen", "lfw"), means), rows=[Row(n, n, (), {}) for n in scores]
    )


class TestFile:
    def test_every_value_has_a_source_and_a_known_lineage(self):
        assert {row.lineage for row in PUBLISHED} == set(LINEAGES)
        assert {row.evidence for row in PUBLISHED} == {"read", *MARKS}
        keys = [row[:3] + row[5:] for row in PUBLISHED]
        assert len(keys) == len(set(keys))
        for row in PUBLISHED:
            assert all((row.method, row.training, row.protocol, row.source, row.where)), row
            assert 20 < row.psnr < 30, row
            assert row.ssim is None or 0.6 < row.ssim < 0.9, row

    def test_table_1_is_a_view_of_it(self):
        assert [len(scores) for scores in TABLE_1.values()] == [9, 9]
        assert {score.source for scores in TABLE_1.values() for score in scores.values()} == {"PKDN", "DIC"}
        for name, scores in TABLE_1.items():
            assert {("PKDN" if row.method == "bicubic" else row.method) for row in PUBLISHED if row.dataset == name} > {
                "PKDN" if method == "bicubic" else method for method in scores
            }

    def test_sources_that_contradict_each_other_are_found(self):
        found = {entry.method: spread(entry.published) for entry in entries("helen")}
        assert found["SPARNet"] == pytest.approx(1.0)
        assert found["DIC"] == pytest.approx(0.79)
        assert found["PKDN"] == 0


class TestTable:
    def test_lineages_have_columns_of_their_own(self):
        table = atlas_table(subject(SPARNet=27.1), "helen")
        assert table.columns[1:4] == [f"Published, {LINEAGES[each]}" for each in ("DIC", "SPARNet", "unknown")]
        assert table.columns[-1] == "95 %"  # every row has its method's name
        row = next(row for row in table.sections[0].rows if row[0].text == "SPARNet")
        assert [cell.text for cell in row] == [
            *("SPARNet", "26.78 (PKDN)", "26.43 to 27.43 (SPARNet (paper), SPARNet (released), WFEN *)"),
            *("26.95 (RE-SFMNet)", "1.00", "27.10", "26.90 to 27.30"),
        ]
        text = to_markdown(table)
        assert "| KDFSRNet | 26.79 (PKDN) |" in text
        assert "not run" in text
        assert "PKDN: arXiv 2409.14385, Table 1" in text

    def test_every_row_of_a_method_is_shown_and_others_are_not(self):
        shown = subject(PKDN=26.0, mine=25.0)
        shown.rows = [Row("PKDN", "PKDN", (), {}), Row("mine", "PKDN", (), {})]
        rows = {entry.method: entry.measured for entry in measured_entries(shown, "helen")}
        assert [label for label, _ in rows["PKDN"]] == ["PKDN", "mine"]
        assert [label for label, _ in rows["bicubic"]] == ["bicubic"]
        assert atlas_table(shown, "helen").columns[-1] == "Row"
        lines = [row for row in atlas_table(shown, "helen").sections[0].rows if row[0].text == "PKDN"]
        assert [(row[1].text, row[-1].text) for row in lines] == [("26.84 (PKDN)", "–"), ("–", "mine")]

    def test_other_scales_and_test_sets_have_none(self):
        shown = subject()
        assert dataset_of("lfw") is None
        assert atlas_table(shown, "lfw") is None
        shown.scale = 4
        assert atlas_table(shown, "helen") is None
        assert published_plot("p", measured_entries(shown, "helen"), {}) is None


def test_the_plot_has_room_for_the_longest_label():
    svg = parse(str(published_plot("p", entries("celeba"), {})))
    (label,) = [text for text in svg.all("text") if text.text == "PKDN, teacher without PFB and FFB"]
    right = float(label.attrs["x"] if "x" in label.attrs else label.attrs["transform"].split("(")[1].split()[0])
    assert right > 7 * len(label.text)  # it ends there


def test_the_plot_has_a_mark_per_source_and_per_row():
    found = measured_entries(subject(SPARNet=27.1, DIC=float("nan")), "helen")
    svg = parse(str(published_plot("p", found, {"SPARNet": 3})))
    titles = [title.text for title in svg.all("title")]
    assert len(titles) == sum(len(entry.published) for entry in found) + 2  # bicubic and SPARNet; DIC diverged
    assert "SPARNet, SPARNet (released), SPARNet's crops: 27.43 dB" in titles
    assert "SPARNet, measured here: 27.10 dB, 26.90 to 27.30" in titles
