"""How the rows compare on a test set, in one table that sorts by every column; and the finding in one line."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, Difference, RowScores, Subject
from pkdn_lightning.report.table1 import OVER_SEEDS, OVER_SEEDS_NOTE, bound_sections, quality_cells, signed
from pkdn_lightning.report.tables import Cell, Section


class Column(NamedTuple):
    """A column: its title with the unit, the direction in which the best comes first, and what it means."""

    title: str
    best_first: str
    note: str
    range: tuple[float, float] = (0, 1)  # of the cells' intervals


_UP: Final = "descending"
_DOWN: Final = "ascending"
_MEAN: Final = (
    "Mean over faces ± standard deviation over seeds; below, the 95 % interval over test faces; higher is better"
)
_COLUMNS: Final = (
    Column("p (Holm)", _DOWN, "Paired test of the difference, corrected for the number of rows"),
    Column("Seeds", _UP, "Trainings that differ in their seed only"),
    Column("Parameters (M)", _DOWN, "Trainable values, in millions"),
    Column("GMACs", _DOWN, "Multiply-accumulates for one face, in billions"),
    Column("Latency (ms)", _DOWN, "Time for one face at a time, median of timed forward passes"),
    Column("Published PSNR (dB)", _UP, "From the papers, on their own crops and faces"),
)


class Leaderboard(NamedTuple):
    """The columns after the row's name, the rows (those that see parsing maps in a section of their own), and notes."""

    columns: list[Column]
    sections: list[Section]
    notes: list[str]


def leaderboard(subject: Subject, test_set: str, notes: Sequence[str]) -> Leaderboard:
    """Returns the leaderboard of a test set.

    Args:
        subject: What the report is about.
        test_set: Name of the test set.
        notes: The notes of Table 1; those about columns that the leaderboard lacks are left out.
    """
    scores, quality = subject.scores[test_set], quality_cells(subject, test_set)
    published = bool(subject.published(test_set))
    over_seeds = any(score.psnr_gain.covers_seeds for score in scores.values() if score.psnr_gain)

    def line(row: Row) -> list[Cell]:
        cells = quality[row.label]
        name = Cell(row.label, detail=f"taught with {row.taught_with}" if row.taught_with else "")
        gain = [cells.gain, cells.gain_over_seeds] if over_seeds else [cells.gain]
        shown = [name, cells.psnr, cells.ssim, *gain, cells.p, cells.seeds, *_cost_cells(row, subject)]
        return [*shown, cells.published_psnr] if published else shown

    rows = sorted([BASELINE, *subject.rows], key=lambda row: _descending_psnr(scores[row.label]))
    sections = [
        Section([line(row) for row in rows if not row.reads_parsing]),
        *bound_sections([(row, line(row)) for row in rows if row.reads_parsing]),
    ]
    columns = [
        Column("PSNR (dB)", _UP, _MEAN, _range([cells.psnr for cells in quality.values()])),
        Column("SSIM", _UP, _MEAN, _range([cells.ssim for cells in quality.values()])),
        Column(
            "Δ PSNR (dB)",
            _UP,
            f"PSNR minus that of {subject.reference}, face by face; below, the 95 % interval over test faces",
        ),
        *([Column(OVER_SEEDS, _UP, "Interval of Δ PSNR (dB); sorted by its lower end")] if over_seeds else []),
        *(_COLUMNS if published else _COLUMNS[:-1]),
    ]
    return Leaderboard(columns, sections, [note for note in notes if over_seeds or note != OVER_SEEDS_NOTE])


def finding(subject: Subject, test_set: str) -> str:
    """Returns what a test set shows, in one line."""
    scores, reference = subject.scores[test_set], subject.reference
    labels = [row.label for row in subject.rows if not row.reads_parsing or row.label == reference]
    ranked = sorted(labels, key=lambda label: _descending_psnr(scores[label]))
    best, bicubic = ranked[0], scores[BASELINE.label]
    quality = f"{scores[best].psnr.mean:.2f} dB PSNR"
    if bicubic.psnr.mean >= scores[best].psnr.mean:
        return f"No method beats bicubic ({bicubic.psnr.mean:.2f} dB PSNR); the best, {best}, has {quality}."
    to_bicubic = f"{reference} is {_in_words(_negated(bicubic.psnr_gain), BASELINE.label)}"
    if len(ranked) == 1:
        return f"{to_bicubic}."
    # Differences are known to the reference only: the best row's, or that of the next row to the reference.
    other = reference if best != reference else ranked[1]
    lead = scores[best].psnr_gain or _negated(scores[other].psnr_gain)
    compared = "seeds and faces" if lead.covers_seeds else "faces"
    uncertain = "" if lead.interval[0] > 0 else f", which these {compared} cannot tell apart"
    return f"{best} leads with {quality}, {_in_words(lead, other)}{uncertain}; {to_bicubic}."


def _descending_psnr(score: RowScores) -> float:
    """Returns what to sort by; a network that diverged comes last."""
    return -score.psnr.mean if math.isfinite(score.psnr.mean) else math.inf


def _negated(gain: Difference | None) -> Difference:
    assert gain is not None  # the reference alone has none
    negated = gain._replace(mean=-gain.mean, low=-gain.high, high=-gain.low)
    low, high = gain.interval
    return negated._replace(seeds_faces_low=-high, seeds_faces_high=-low) if gain.covers_seeds else negated


def _in_words(gain: Difference, other: str) -> str:
    direction = "above" if gain.mean >= 0 else "below"
    low, high = gain.interval
    kind = OVER_SEEDS if gain.covers_seeds else "95 %"
    return f"{abs(gain.mean):.2f} dB {direction} {other} ({kind} {signed(low, 2)} to {signed(high, 2)})"


def _range(column: Sequence[Cell]) -> tuple[float, float]:
    ends = [end for cell in column for end in cell.interval or ()] or [0.0]
    return min(ends), max(max(ends), min(ends) + 1e-12)


def _cost_cells(row: Row, subject: Subject) -> list[Cell]:
    if not row.runs:
        return [Cell()] * 3
    params, macs = row.runs[0].results["params"], row.runs[0].results["macs"]
    latency = 1000 / subject.speeds[row.label].one
    return [
        Cell(f"{params / 1e6:.3f}", value=params),
        Cell(f"{macs / 1e9:.3f}", value=macs),
        Cell(f"{latency:.1f}" if latency < 100 else f"{latency:,.0f}", value=latency),
    ]
