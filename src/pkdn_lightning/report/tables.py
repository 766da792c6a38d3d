"""Tables as values, and as Markdown, LaTeX (booktabs) and CSV. What stands in them is decided elsewhere."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

NONE: Final = "–"
"""What stands where there is nothing to say."""

_LATEX: Final = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$", "λ": r"$\lambda$", "≥": r"$\geq$",
    "−": "$-$", "–": "--", "…": r"\dots{}", "✓": r"\checkmark{}", "·": r"$\cdot$",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A field of a table.

    Attributes:
        text: What is shown.
        place: 1 for the best of its column, 2 for the second, 0 for the others.
    """

    text: str
    place: int = 0


@dataclass(frozen=True)
class Section:
    """Rows that belong together.

    Attributes:
        rows: Lists of cells, one per column.
        title: Stands above the rows; nothing if empty.
    """

    rows: Sequence[Sequence[Cell]]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Says what is in it, on its own.
        columns: Titles of the columns; the first one is a name, the others are numbers.
        sections: The rows.
        notes: What a reader has to know, a sentence or more each.
        commands: Command lines that would fill what is missing.
    """

    title: str
    columns: Sequence[str]
    sections: Sequence[Section]
    notes: Sequence[str] = field(default=())
    commands: Sequence[str] = field(default=())


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
    lines = [f"**{_md(table.title)}**", "", _md_row(map(_md, table.columns))]
    lines.append("|---|" + "---:|" * (len(table.columns) - 1))
    for section in table.sections:
        if section.title and section.rows:
            lines.append(_md_row([f"*{_md(section.title)}*", *[""] * (len(table.columns) - 1)]))
        lines += [_md_row(map(_md_cell, row)) for row in section.rows]
    lines += ["", *(f"- {_md(note)}" for note in table.notes)]
    if table.commands:
        lines += ["", "To fill what is missing:", "", "```bash", *table.commands, "```"]
    return "\n".join(lines).rstrip() + "\n"


def to_latex(table: Table, label: str) -> str:
    """Returns a table in LaTeX, for a document that loads `booktabs` and `graphicx`.

    Args:
        table: The table.
        label: What the document refers to it by.
    """
    lines = [
        r"\begin{table*}[t]",
        r"  \centering",
        rf"  \caption{{{latex(_unnumbered(table.title))}}}",
        rf"  \label{{{label}}}",
        r"  \resizebox{\textwidth}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(map(latex, table.columns))} " + r"\\",
        r"    \midrule",
    ]
    for section in table.sections:
        if section.title and section.rows:
            lines.append(r"    \midrule")
            lines.append(rf"    \multicolumn{{{len(table.columns)}}}{{l}}{{\emph{{{latex(section.title)}}}}} " + r"\\")
        lines += [f"    {' & '.join(map(_latex_cell, row))} " + r"\\" for row in section.rows]
    lines += [r"    \bottomrule", r"  \end{tabular}}", ""]
    lines += [rf"  \par\smallskip\footnotesize\raggedright {latex(note)}" for note in table.notes]
    lines += [r"\end{table*}", ""]
    return "\n".join(lines)


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
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], text)


def _unnumbered(title: str) -> str:
    """Returns a title without the paper's number: the document counts its tables itself."""
    return re.sub(r"^Table \d+, ", "", title)


def _latex_cell(cell: Cell) -> str:
    text = latex(cell.text)
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(cell.place, text)


def _md(text: str) -> str:
    return re.sub(r"([|*_<>\[\]])", r"\\\1", text)


def _md_cell(cell: Cell) -> str:
    text = _md(cell.text)
    return {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(cell.place, text)


def _md_row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
