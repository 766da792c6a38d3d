"""Tables as values, and as Markdown, LaTeX (booktabs) and CSV. What stands in them is decided elsewhere."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pkdn_lightning.markdown import code_block, plain

NONE: Final = "–"
"""What stands where there is no value."""

_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "λ": r"$\lambda$", "≥": r"$\geq$",
    "−": "$-$", "–": "--", "…": r"\dots{}", "✓": r"\checkmark{}", "·": r"$\cdot$",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A cell of a table; all but text and place is for the page."""

    text: str = NONE
    place: int = 0  # 1 for the best of its column, 2 for the second, 0 for the others
    value: float | None = None  # what is sorted by; None comes last
    detail: str = ""  # in small letters below the text
    interval: tuple[float, float, float] | None = None  # lower end, mean and upper end, where they are drawn


@dataclass(frozen=True)
class Section:
    """Rows of cells, one cell per column, below a title if there is one."""

    rows: Sequence[Sequence[Cell]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table; its first column holds names, the others numbers."""

    title: str
    columns: Sequence[str]
    sections: Sequence[Section]
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()  # would fill what is missing


def places(values: Sequence[float | None]) -> list[int]:
    """Returns 1 for the highest value, 2 for the next lower one, 0 for the others; equal values share a place.

    Example:
        >>> places([0.5, None, 0.7, 0.6, 0.7])
        [0, 0, 1, 2, 1]
    """
    ranked = sorted({value for value in values if value is not None}, reverse=True)[:2]
    return [ranked.index(value) + 1 if value in ranked else 0 for value in values]


def to_markdown(table: Table) -> str:
    """Returns a table in Markdown: the best value bold, the second underlined, notes below."""
    empty = [""] * (len(table.columns) - 1)
    lines = [f"**{plain(table.title)}**", "", _md_row(map(plain, table.columns)), "|---|" + "---:|" * len(empty)]
    for section in table.sections:
        if section.title and section.rows:
            lines.append(_md_row([f"*{plain(section.title)}*", *empty]))
        lines += [_md_row(_marked(row, plain, "**{}**", "<u>{}</u>")) for row in section.rows]
    lines += ["", *(f"- {plain(note)}" for note in table.notes)]
    if table.commands:
        lines += ["", "To fill what is missing:", "", code_block("\n".join(table.commands))]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table, label: str) -> str:
    """Returns a table in LaTeX, for a document that loads `booktabs` and `graphicx`.

    Args:
        table: The table. A number at the beginning of its title is left out: the document counts its tables itself.
        label: What the document refers to it by.
    """
    lines = [
        r"\begin{table*}[t]",
        r"  \centering",
        rf"  \caption{{{latex(re.sub(r'^Table [0-9]+, ', '', table.title))}}}",
        rf"  \label{{{label}}}",
        r"  \resizebox{\textwidth}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"    \toprule",
        _latex_row(map(latex, table.columns)),
        r"    \midrule",
    ]
    for section in table.sections:
        if section.title and section.rows:
            title = rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\emph{{{latex(section.title)}}}}}"
            lines += [r"    \midrule", _latex_row([title])]
        lines += [_latex_row(_marked(row, latex, r"\textbf{{{}}}", r"\underline{{{}}}")) for row in section.rows]
    lines += [r"    \bottomrule", r"  \end{tabular}}", ""]
    lines += [rf"  \par\smallskip\footnotesize\raggedright {latex(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table*}", ""])


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns records as CSV, with a column for every key that one of them has."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def latex(text: str) -> str:
    r"""Returns plain text with everything escaped that LaTeX would take for a command.

    Example:
        >>> print(latex("max_steps=5 & 27.6 ± 0.1 %"))
        max\_steps=5 \& 27.6 $\pm$ 0.1 \%
    """
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], " ".join(text.split()))


def _marked(row: Sequence[Cell], escape: Callable[[str], str], best: str, second: str) -> list[str]:
    marks = {1: best, 2: second}
    return [marks.get(cell.place, "{}").format(escape(cell.text)) for cell in row]


def _latex_row(cells: Iterable[str]) -> str:
    return f"    {' & '.join(cells)} " + r"\\"


def _md_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
