"""How the rows stand on a test set, in one table that sorts by every column; and the finding in one line."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pkdn_lightning.report.comparison import FLOOR, Difference, Mean, RowScores
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.table1 import Subject, gain_cells, plus_minus, signed
from pkdn_lightning.report.tables import NONE, places


class Column(NamedTuple):
    """A column of the leaderboard.

    Attributes:
        title: What it is called, with its unit.
        first: The direction of the first sorting: the best on top.
        note: What it means, in a sentence.
    """

    title: str
    first: str
    note: str


class Field(NamedTuple):
    """A field of the leaderboard.

    Attributes:
        text: What is shown.
        value: What is sorted by; None comes last.
        place: 1 for the best of its column, 2 for the second, 0 for the others.
        detail: Stands below: the interval.
        span: Ends and middle of that interval in percent of the column's range, where it is drawn.
    """

    text: str
    value: float | None
    place: int = 0
    detail: str = ""
    span: tuple[float, float, float] | None = None


class Line(NamedTuple):
    """A row of the leaderboard.

    Attributes:
        label: The row's name.
        taught: What it saw in training besides faces, in words.
        colour: Its colour's number; None if it has none of its own.
        reference: Whether the others are compared with it.
        fields: One per column.
    """

    label: str
    taught: str
    colour: int | None
    reference: bool
    fields: tuple[Field, ...]


class Leaderboard(NamedTuple):
    """The table of a test set.

    Attributes:
        columns: Behind the name.
        comparable: Bicubic and the methods that see LR alone, best first.
        bounds: The methods that see the parsing map of the true face, best first.
    """

    columns: tuple[Column, ...]
    comparable: tuple[Line, ...]
    bounds: tuple[Line, ...]


_UP: Final = "descending"
_DOWN: Final = "ascending"


def leaderboard(subject: Subject, test_set: str, colours: Mapping[str, int]) -> Leaderboard:
    """Returns how the rows stand on a test set.

    Args:
        subject: What the report is about.
        test_set: Name of the test set.
        colours: Numbers of the colours by label.
    """
    scores = subject.scores[test_set]
    rows = [FLOOR, *subject.rows]
    comparable = [row for row in rows if not row.reads_parsing]
    best = {
        key: dict(
            zip(
                (row.label for row in comparable),
                places([getattr(scores[row.label], key).mean for row in comparable]),
                strict=True,
            )
        )
        for key in ("psnr", "ssim")
    }
    ends = {key: _ends([getattr(scores[row.label], key) for row in rows]) for key in ("psnr", "ssim")}

    def line(row: Row) -> Line:
        score = scores[row.label]
        quality = [
            _mean(score.psnr, 2, best["psnr"].get(row.label, 0), ends["psnr"]),
            _mean(score.ssim, 4, best["ssim"].get(row.label, 0), ends["ssim"]),
            *_gain(score.psnr_gain),
        ]
        seeds = Field(str(score.seeds), score.seeds) if row.runs else Field(NONE, None)
        taught = "parsing maps, which it also sees in use" if row.reads_parsing else row.taught_with
        fields = (*quality, seeds, *_cost(row, subject), *_published(row, subject, test_set))
        return Line(row.label, taught, colours.get(row.label), row.label == subject.reference, fields)

    lines = {row.label: line(row) for row in sorted(rows, key=lambda row: _worst_last(scores[row.label]))}
    bounds = {row.label for row in rows if row.reads_parsing}
    return Leaderboard(
        _columns(subject, test_set),
        tuple(each for label, each in lines.items() if label not in bounds),
        tuple(each for label, each in lines.items() if label in bounds),
    )


def finding(subject: Subject, test_set: str) -> str:
    """Returns what a test set shows, in one line."""
    scores, reference = subject.scores[test_set], subject.reference
    ranked = sorted(
        (row.label for row in subject.rows if not row.reads_parsing or row.label == reference),
        key=lambda label: _worst_last(scores[label]),
    )
    best = ranked[0]
    said = f"{scores[best].psnr.mean:.2f} dB PSNR"
    floor = scores[FLOOR.label]
    if floor.psnr.mean >= scores[best].psnr.mean:
        return f"No method beats bicubic ({floor.psnr.mean:.2f} dB PSNR); the best, {best}, has {said}."
    if best != reference:
        return f"{best} leads with {said}, {_apart(scores[best], reference)}; {_over_floor(scores, reference)}."
    if len(ranked) == 1:
        return f"{_over_floor(scores, reference)}."
    second = scores[ranked[1]].psnr_gain
    assert second is not None  # the reference alone has none
    sure = "" if second.high < 0 else ", which these faces cannot tell apart"
    return (
        f"{best} leads with {said}, {-second.mean:.2f} dB above {ranked[1]} "
        f"(95 % {signed(-second.high, 2)} to {signed(-second.low, 2)}){sure}; {_over_floor(scores, reference)}."
    )


def _worst_last(score: RowScores) -> float:
    return -score.psnr.mean if math.isfinite(score.psnr.mean) else math.inf


def _apart(score: RowScores, reference: str) -> str:
    gain = score.psnr_gain
    assert gain is not None  # the reference alone has none
    return f"{gain.mean:.2f} dB above {reference} (95 % {signed(gain.low, 2)} to {signed(gain.high, 2)})"


def _over_floor(scores: Mapping[str, RowScores], reference: str) -> str:
    gain = scores[FLOOR.label].psnr_gain  # bicubic less the reference
    assert gain is not None  # bicubic is never the reference
    way = "above" if gain.mean <= 0 else "below"
    interval = f"95 % {signed(-gain.high, 2)} to {signed(-gain.low, 2)}"
    return f"{reference} is {abs(gain.mean):.2f} dB {way} bicubic ({interval})"


def _columns(subject: Subject, test_set: str) -> tuple[Column, ...]:
    mean = "Mean over faces ± standard deviation over seeds; below, the 95 % interval over test faces"
    columns = (
        Column("PSNR (dB)", _UP, f"{mean}; higher is better"),
        Column("SSIM", _UP, f"{mean}; higher is better"),
        Column("Δ PSNR (dB)", _UP, f"PSNR less that of {subject.reference}, face by face; below, the 95 % interval"),
        Column("p (Holm)", _DOWN, "Paired test of the difference, corrected for the number of rows"),
        Column("Seeds", _UP, "Trainings that differ in their seed only"),
        Column("Parameters (M)", _DOWN, "Trainable values, in millions"),
        Column("GMACs", _DOWN, "Multiply-accumulates for one face, in billions"),
        Column("Latency (ms)", _DOWN, "Time for one face at a time, median of a few forward passes"),
    )
    published = Column("Published PSNR (dB)", _UP, "From the papers, on their own crops and faces")
    return (*columns, published) if subject.published(test_set) else columns


def _published(row: Row, subject: Subject, test_set: str) -> Sequence[Field]:
    published = subject.published(test_set)
    if not published:
        return ()
    score = published.get(row.method)
    return (Field(f"{score.psnr:.2f}", score.psnr) if score else Field(NONE, None),)


def _ends(means: Sequence[Mean]) -> tuple[float, float]:
    numbers = [end for mean in means for end in (mean.low, mean.high) if math.isfinite(end)]
    return min(numbers, default=0.0), max(numbers, default=1.0)


def _mean(mean: Mean, digits: int, place: int, ends: tuple[float, float]) -> Field:
    if not math.isfinite(mean.mean):  # a network that diverged, which is neither drawn nor sorted
        return Field(plus_minus(mean, digits), None)
    width = max(ends[1] - ends[0], 1e-12)
    low, middle, high = (round(100 * (value - ends[0]) / width, 1) for value in (mean.low, mean.mean, mean.high))
    interval = f"{mean.low:.{digits}f} to {mean.high:.{digits}f}"
    return Field(plus_minus(mean, digits), mean.mean, place, interval, (low, middle, high))


def _gain(gain: Difference | None) -> Sequence[Field]:
    if gain is None:
        return [Field(NONE, None)] * 2
    mean, interval, p = (cell.text for cell in gain_cells(gain))
    values = [value if math.isfinite(value) else None for value in (gain.mean, gain.p_holm)]
    return [Field(mean, values[0], detail=interval), Field(p, values[1])]


def _cost(row: Row, subject: Subject) -> Sequence[Field]:
    if not row.runs:
        return [Field(NONE, None)] * 3
    results, latency = row.runs[0].results, 1000 / subject.speeds[row.label].one
    return (
        Field(f"{results['params'] / 1e6:.3f}", results["params"]),
        Field(f"{results['macs'] / 1e9:.3f}", results["macs"]),
        Field(f"{latency:.1f}" if latency < 100 else f"{latency:,.0f}", latency),
    )
