"""Tables as Markdown, LaTeX and CSV: nothing is lost, nothing breaks a reader."""

import csv
import dataclasses
import io
import shutil
import subprocess

import pytest

from pkdn_lightning.report.published_values import TABLE_1, TABLE_2, dataset_of
from pkdn_lightning.report.tables import _LATEX, Cell, Section, Table, latex, places, to_csv, to_latex, to_markdown

TABLE = Table(
    "x8 & more",
    ["Method", "PSNR"],
    [
        Section([[Cell("SPARNet (max_steps=5)"), Cell("27.42 ± 0.10", 2)], [Cell("A|B"), Cell("27.56", 1)]]),
        Section([[Cell("PKDN teacher"), Cell("−0.5")]], "bound"),
        Section([], "empty"),
    ],
    ["Δ: 100 % of x_1."],
    ["pkdn train model.width=8"],
)


def test_markdown():
    lines = to_markdown(TABLE).splitlines()
    assert lines[:7] == [
        *("**x8 & more**", "", "| Method | PSNR |", "|---|---:|"),
        r"| SPARNet (max_steps=5) | <u>27.42 ± 0.10</u> |",
        r"| A\|B | **27.56** |",
        "| *bound* |  |",
    ]
    assert "- Δ: 100 % of x_1." in lines
    assert lines[-3:] == ["```bash", "pkdn train model.width=8", "```"]
    assert "empty" not in "".join(lines)


def test_latex():
    text = to_latex(TABLE, "tab:1")
    for part in (
        r"\caption{x8 \& more}",
        r"\begin{tabular}{lr}",
        r"SPARNet (max\_steps=5) & \underline{27.42 $\pm$ 0.10} \\",
        r"A\textbar{}B & \textbf{27.56} \\",
        r"\multicolumn{2}{l}{\emph{bound}} \\",
        r"PKDN teacher & $-$0.5 \\",
        r"$\Delta$: 100 \% of x\_1.",
    ):
        assert part in text
    for rule in (r"\toprule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert text.count("{") == text.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert "empty" not in text


def test_a_caption_leaves_numbering_to_the_document():
    assert r"\caption{helen: x8}" in to_latex(dataclasses.replace(TABLE, title="Table 1, helen: x8"), "tab:1")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(tmp_path):
    everything = dataclasses.replace(TABLE, title="".join(_LATEX), notes=["".join(_LATEX)])
    (tmp_path / "table.tex").write_text(to_latex(everything, "tab:1"), encoding="utf-8")
    packages = r"\documentclass{article}\usepackage{booktabs,graphicx,amssymb}"
    document = rf"{packages}\begin{{document}}\input{{table}}\end{{document}}"
    (tmp_path / "document.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:]


def test_latex_escapes_every_special_character():
    assert latex(r"\&%$#_{}~^<>|") == (
        r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )


def test_csv_has_a_column_for_every_key():
    text = to_csv([{"method": "a, b", "psnr": 27.5}, {"method": "c", "p": 0.1}])
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"method": "a, b", "psnr": "27.5", "p": ""},
        {"method": "c", "psnr": "", "p": "0.1"},
    ]


def test_equal_values_share_a_place():
    assert places([1.0, 3.0, None, 2.0, 3.0]) == [0, 1, 0, 2, 1]
    assert places([None, 1.0]) == [0, 1]


def test_published_numbers():
    assert TABLE_1["celeba"]["PKDN"][:2] == TABLE_2[True, True][:2] == (27.56, 0.8062)
    assert TABLE_1["helen"]["PKDN"][:2] == (26.84, 0.7982)
    assert TABLE_1["celeba"]["bicubic"] == (23.58, 0.6285, "DIC")
    assert [max(scores, key=lambda name: scores[name].psnr) for scores in TABLE_1.values()] == ["PKDN", "PKDN"]
    found = [dataset_of(name) for name in ("celeba", "helen_test", "celebamask_hq", "lfw")]
    assert found == ["celeba", "helen", None, None]
