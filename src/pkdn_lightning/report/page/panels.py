"""What the page shows besides its tables: λ grids, effects, curves and costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

from pkdn_lightning.report.comparison import RowScores
from pkdn_lightning.report.curves import Curve, terms_of
from pkdn_lightning.report.effects import families, family_scores
from pkdn_lightning.report.lambdas import LambdaGrid
from pkdn_lightning.report.measurements import Faces
from pkdn_lightning.report.methods import is_ablation
from pkdn_lightning.report.page.plots import Point, cost_plot, forest_plot, loss_plot
from pkdn_lightning.report.page.svg import COLOURS
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.table1 import Subject, plus_minus

_EFFECTS: Final = 40
_TERMS: Final = 12


class Heat(NamedTuple):
    """A cell of a λ grid.

    Attributes:
        text: PSNR, or that it was not run.
        detail: SSIM and seeds.
        share: Where it lies between the grid's lowest PSNR, 0, and its highest, 100; None if it was not run.
        reference: Whether it is the report's reference.
    """

    text: str
    detail: str
    share: float | None
    reference: bool = False


class HeatMap(NamedTuple):
    """A λ grid on a test set.

    Attributes:
        method: Whose.
        fs: The weights λ_FS, from left to right.
        rows: Weights λ_TS and their cells, from top to bottom.
    """

    method: str
    fs: tuple[float, ...]
    rows: tuple[tuple[float, tuple[Heat, ...]], ...]


class Forest(NamedTuple):
    """The effects around a reference.

    Attributes:
        reference: Label of the row that the others are compared with.
        plot: Differences with intervals.
        lines: What is in the plot: row, setting, difference, interval and p-value in words.
        left_out: How many effects were too many.
    """

    reference: str
    plot: Markup
    lines: tuple[tuple[str, str, str], ...]
    left_out: int


def choose_colours(rows: Sequence[Row], reference: str, scores: Mapping[str, RowScores]) -> dict[str, int]:
    """Returns which rows have a colour of their own, and its number.

    All of them, if there are colours enough; else the reference, the best of every method, and the best of the rest.
    """
    chosen = [row.label for row in rows]
    if len(rows) > COLOURS:

        def quality(row: Row) -> float:
            return scores[row.label].psnr.mean

        best: dict[str, Row] = {}
        for row in sorted(rows, key=quality, reverse=True):
            best.setdefault(row.method, row)
        firsts = sorted(best.values(), key=lambda row: (is_ablation(row.method), -quality(row)))
        rest = sorted(rows, key=quality, reverse=True)
        wanted = list(dict.fromkeys([reference, *(row.label for row in (*firsts, *rest))]))[:COLOURS]
        chosen = [label for label in chosen if label in wanted]
    return {label: place for place, label in enumerate(chosen)}


def heat_map(grid: LambdaGrid, scores: Mapping[str, RowScores], reference: str) -> HeatMap:
    """Returns a λ grid on a test set."""
    psnr = {weights: scores[row.label].psnr.mean for weights, row in grid.rows.items()}
    numbers = [value for value in psnr.values() if math.isfinite(value)] or [0.0]
    lowest, highest = min(numbers), max(numbers)

    def cell(weights: tuple[float, float]) -> Heat:
        if weights not in psnr:
            return Heat("not run", "", None)
        row = grid.rows[weights]
        score = scores[row.label]
        inside = highest > lowest and math.isfinite(psnr[weights])
        share = 100 * (psnr[weights] - lowest) / (highest - lowest) if inside else 50.0
        detail = f"SSIM {score.ssim.mean:.4f}, n = {score.seeds}"
        return Heat(f"{plus_minus(score.psnr, 2)} dB", detail, round(share, 1), row.label == reference)

    rows = tuple((ts, tuple(cell((ts, fs)) for fs in grid.fs)) for ts in grid.ts)
    return HeatMap(grid.method, tuple(grid.fs), rows)


def forests(
    subject: Subject, measured: Mapping[str, Mapping[str, Sequence[Faces]]], *, seed: int
) -> dict[str, list[Forest]]:
    """Returns the effects on every test set, a forest per family."""
    found: dict[str, list[Forest]] = {name: [] for name in subject.scores}
    for number, family in enumerate(families(subject.rows, subject.reference)):
        for place, (name, shown) in enumerate(found.items()):
            scores = family_scores(family, measured, name, seed=seed)
            gains = [(effect, scores[effect.row.label].psnr_gain) for effect in family.effects]
            told = [(effect, gain) for effect, gain in gains if gain and math.isfinite(gain.mean)][:_EFFECTS]
            if not told:
                continue
            told.sort(key=lambda each: -each[1].mean)
            plot = forest_plot(f"forest{number}-{place}", [(effect.setting, gain) for effect, gain in told])
            lines = tuple((effect.setting, effect.row.label, f"{scores[effect.row.label].seeds}") for effect, _ in told)
            shown.append(Forest(family.reference.label, plot, lines, len(gains) - len(told)))
    return found


def cost_plots(subject: Subject, test_set: str, colours: Mapping[str, int]) -> list[Markup]:
    """Returns PSNR on a test set over multiply-accumulates, parameters and latency."""
    scores = subject.scores[test_set]
    plots = []
    for name, unit in (("MACs", "billions per face"), ("Parameters", "millions"), ("Latency", "ms per face")):
        points = []
        for row in subject.rows:
            results = row.runs[0].results
            cost = {
                "MACs": results["macs"] / 1e9,
                "Parameters": results["params"] / 1e6,
                "Latency": 1000 / subject.speeds[row.label].one,
            }[name]
            quality = scores[row.label].psnr.mean
            if cost > 0 and math.isfinite(quality):
                points.append(Point(row.label, colours.get(row.label), cost, quality, not row.reads_parsing))
        if points:
            identity = f"{name.lower()}{list(subject.scores).index(test_set)}"
            plots.append(cost_plot(identity, name, unit, points, scores["bicubic"].psnr.mean))
    return plots


def loss_plots(
    curves: Mapping[str, Mapping[str, Curve]], colours: Mapping[str, int]
) -> tuple[list[tuple[str, Markup]], list[str]]:
    """Returns the loss terms over time by name, and the names of those that were too many."""
    terms = terms_of(curves)
    shown = [(term, loss_plot(term, number, curves, colours)) for number, term in enumerate(terms[:_TERMS])]
    return shown, terms[_TERMS:]
