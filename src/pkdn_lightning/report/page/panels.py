"""What the page shows besides its tables: colours of rows, λ grids, effects and costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from pkdn_lightning.report.effects import families
from pkdn_lightning.report.lambdas import LambdaGrid
from pkdn_lightning.report.methods import is_ablation
from pkdn_lightning.report.page.plots import Point, cost_plot, forest_plot
from pkdn_lightning.report.page.svg import COLOURS
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, RowScores, Subject
from pkdn_lightning.report.table1 import plus_minus
from pkdn_lightning.report.tables import Cell


class Forest(NamedTuple):
    """The effects around a reference, as a plot and with setting, row and number of seeds of each."""

    reference: str
    plot: Markup
    lines: Sequence[tuple[str, str, int]]


def choose_colours(rows: Sequence[Row], reference: str, scores: Mapping[str, RowScores]) -> dict[str, int]:
    """Returns which rows have a colour of their own, and its number.

    All of them, if there are enough colours; else the reference, the best of every method, and the best of the rest.
    """
    ranked = sorted(rows, key=lambda row: scores[row.label].psnr.mean, reverse=True)
    best = {row.method: row for row in reversed(ranked)}.values()
    firsts = sorted(best, key=lambda row: (is_ablation(row.method), -scores[row.label].psnr.mean))
    wanted = list(dict.fromkeys([reference, *(row.label for row in (*firsts, *ranked))]))[:COLOURS]
    return {label: place for place, label in enumerate(row.label for row in rows if row.label in wanted)}


def heat_map(grid: LambdaGrid, scores: Mapping[str, RowScores], reference: str) -> list[tuple[float, list[Cell]]]:
    """Returns a λ grid on a test set: every λ_TS and its cells, whose value is their share of the range of PSNR."""
    psnr = {weights: scores[row.label].psnr.mean for weights, row in grid.rows.items()}
    known = [value for value in psnr.values() if math.isfinite(value)] or [0.0]
    lowest, width = min(known), max(known) - min(known)

    def cell(weights: tuple[float, float]) -> Cell:
        if weights not in psnr:
            return Cell("not run")
        label = grid.rows[weights].label
        score = scores[label]
        share = 100 * (psnr[weights] - lowest) / width if width > 0 and math.isfinite(psnr[weights]) else 50.0
        detail = f"SSIM {score.ssim.mean:.4f}, n = {score.seeds}{', reference' if label == reference else ''}"
        return Cell(f"{plus_minus(score.psnr, 2)} dB", value=round(share, 1), detail=detail)

    return [(ts, [cell((ts, fs)) for fs in grid.fs]) for ts in grid.ts]


def forests(subject: Subject) -> dict[str, list[Forest]]:
    """Returns the effects on every test set, a forest per family of rows."""
    found: dict[str, list[Forest]] = {test_set: [] for test_set in subject.scores}
    for number, family in enumerate(families(subject.rows, subject.reference)):
        for place, (test_set, shown) in enumerate(found.items()):
            scores = subject.against(family.reference, [effect.row for effect in family.effects], test_set)
            gains = [(effect, scores[effect.row.label].psnr_gain) for effect in family.effects]
            drawn = [(effect, gain) for effect, gain in gains if gain and math.isfinite(gain.mean)]
            if drawn:
                drawn.sort(key=lambda each: -each[1].mean)
                plot = forest_plot(f"forest{number}-{place}", [(effect.setting, gain) for effect, gain in drawn])
                lines = [(effect.setting, effect.row.label, len(effect.row.runs)) for effect, _ in drawn]
                shown.append(Forest(family.reference.label, plot, lines))
    return found


def cost_plots(subject: Subject, test_set: str, colours: Mapping[str, int]) -> list[Markup]:
    """Returns PSNR on a test set over multiply-accumulates, parameters and latency."""
    scores, plots = subject.scores[test_set], []
    for name, unit, cost_of in _COSTS:
        points = []
        for row in subject.rows:
            cost, psnr = cost_of(row.runs[0].results, subject.speeds[row.label]), scores[row.label].psnr.mean
            if cost > 0 and math.isfinite(psnr):
                points.append(Point(row.label, colours.get(row.label), cost, psnr, not row.reads_parsing))
        if points:
            identity = f"{name.lower()}{list(subject.scores).index(test_set)}"
            plots.append(cost_plot(identity, name, unit, points, scores[BASELINE.label].psnr.mean))
    return plots


_COSTS: Final[Any] = (
    ("MACs", "billions per face", lambda results, speed: results["macs"] / 1e9),
    ("Parameters", "millions", lambda results, speed: results["params"] / 1e6),
    ("Latency", "ms per face", lambda results, speed: 1000 / speed.one),
)
