"""The atlas: every published value of a test set, by method and lineage, beside what is measured here."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pkdn_lightning.report.methods import LAST, ORDER, is_ablation, rank
from pkdn_lightning.report.published_values import PUBLISHED, SCALE, Published, dataset_of, spread
from pkdn_lightning.report.scores import BASELINE, Mean, Subject
from pkdn_lightning.report.table1 import finite
from pkdn_lightning.report.tables import NONE, Cell, Section, Table

LINEAGES: Final = {
    "DIC": "DIC's crops",
    "SPARNet": "SPARNet's crops",
    "FSRNet": "FSRNet's crops",
    "unknown": "crops not stated",
}
"""Lineages of published values, and their names in tables, in the order of columns."""

MARKS: Final = {"quoted": " *", "attributed": " †"}
"""What follows a source that was not read itself."""


class Entry(NamedTuple):
    """A method on a test set: what was published of it, and the rows measured here with their PSNR."""

    method: str
    published: Sequence[Published]
    measured: Sequence[tuple[str, Mean]] = ()


def entries(dataset: str) -> list[Entry]:
    """Returns the methods that have published values on a test set, in the order of the paper's rows."""
    values = [row for row in PUBLISHED if row.dataset == dataset]
    methods = sorted({row.method for row in values}, key=rank)
    return [Entry(method, [row for row in values if row.method == method]) for method in methods]


def measured_entries(subject: Subject, test_set: str) -> list[Entry]:
    """Returns the methods of `entries` with the measured rows; none for test sets and scales that nobody published."""
    dataset = dataset_of(test_set)
    if dataset is None or subject.scale != SCALE:
        return []
    scores, rows = subject.scores[test_set], (BASELINE, *subject.rows)
    return [
        entry._replace(measured=[(row.label, scores[row.label].psnr) for row in rows if row.method == entry.method])
        for entry in entries(dataset)
    ]


def published_cells(entry: Entry, lineages: Iterable[str]) -> list[Cell]:
    """Returns the published range of PSNR with its sources, a cell per lineage, and the spread over all sources."""
    cells = [_range([row for row in entry.published if row.lineage == lineage]) for lineage in lineages]
    width = spread(entry.published)
    return [*cells, Cell(f"{width:.2f}", value=width) if width > 0 else Cell()]


def lineages_of(found: Iterable[Entry]) -> list[str]:
    """Returns which lineages entries have values of."""
    present = {row.lineage for entry in found for row in entry.published}
    return [lineage for lineage in LINEAGES if lineage in present]


def atlas_table(subject: Subject, test_set: str) -> Table | None:
    """Returns the published ranges beside the measured values; None where nothing was published."""
    found = measured_entries(subject, test_set)
    if not found:
        return None
    lineages, lines = lineages_of(found), []
    for entry in found:
        published = [Cell(entry.method), *published_cells(entry, lineages)]
        ours = [_measured_cells(psnr, label if label != entry.method else NONE) for label, psnr in entry.measured]
        runnable = entry.method in (*ORDER, *LAST) or is_ablation(entry.method)
        for cells in ours or [[Cell("not run" if runnable else NONE), Cell(), Cell()]]:
            lines.append([*published, *cells])
            published = [Cell(entry.method), *[Cell()] * (len(lineages) + 1)]
    columns = ["Method", *(f"Published, {LINEAGES[each]}" for each in lineages), "Spread", "Here", "95 %", "Row"]
    if all(line[-1].text == NONE for line in lines):  # every row has its method's name
        columns, lines = columns[:-1], [line[:-1] for line in lines]
    return Table(f"Published PSNR (dB) beside the measured one, {test_set}: x{subject.scale}", columns,
                 [Section(lines)], atlas_notes([row for entry in found for row in entry.published]))  # fmt: skip


def atlas_notes(published: Sequence[Published]) -> list[str]:
    """Returns how to read the published values, and where each source is."""
    where: dict[str, list[str]] = {}
    for row in published:
        where.setdefault(row.source, []).append(row.where)
    sources = "; ".join(f"{source}: {', '.join(dict.fromkeys(found))}" for source, found in where.items())
    return [
        "Spread: the highest minus the lowest published PSNR (dB) of the method, whatever the crops. Differences "
        "between methods that are smaller are within what sources disagree by.",
        "Values of different crops, training data or protocols do not compare, hence a column for each lineage.",
        f"Sources: {sources}. * quoted by another source. † attributed to the source; its table was not read.",
    ]


def _range(rows: Sequence[Published]) -> Cell:
    if not rows:
        return Cell()
    low, high = (f"{pick(row.psnr for row in rows):.2f}" for pick in (min, max))
    sources = ", ".join(dict.fromkeys(f"{row.source}{MARKS.get(row.evidence, '')}" for row in rows))
    return Cell(f"{low if low == high else f'{low} to {high}'} ({sources})")


def _measured_cells(psnr: Mean, label: str) -> list[Cell]:
    value = Cell(f"{psnr.mean:.2f}", value=finite(psnr.mean))
    return [value, Cell(f"{psnr.low:.2f} to {psnr.high:.2f}"), Cell(label)]
