"""The plots of the page: learning curves, loss terms, quality against cost, and what one setting is worth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pkdn_lightning.report.comparison import Difference
from pkdn_lightning.report.curves import LOSS, VALIDATION, WEIGHT, Curve
from pkdn_lightning.report.page.label_placement import Named, cut, name_dots, name_ends
from pkdn_lightning.report.page.svg import INK, MARKS, MUTED, STYLE, colour, dash, new_figure, to_svg
from pkdn_lightning.report.table1 import signed

_SPAN: Final = 1e5


class Point(NamedTuple):
    """A row in a plot of quality against cost.

    Attributes:
        label: The row.
        place: Of its colour; None if it has none.
        cost: What it costs.
        quality: PSNR in dB.
        comparable: Whether it sees what the other methods see.
    """

    label: str
    place: int | None
    cost: float
    quality: float
    comparable: bool


@matplotlib.rc_context(STYLE)
def validation_plot(
    curves: Mapping[str, Mapping[str, Curve]], places: Mapping[str, int], floor: float | None
) -> Markup | None:
    """Returns PSNR on the validation faces over the training, a line per row; None where nobody logged it."""
    drawn = {label: logged[VALIDATION] for label, logged in curves.items() if VALIDATION in logged}
    if not drawn:
        return None
    figure = new_figure(1080, 420, left=58, right=235, bottom=48, top=12)
    axes = figure.subplots()
    _draw_curves(axes, drawn, places)
    if floor is not None:
        axes.axhline(floor, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        words = f"bicubic {floor:.2f} dB"
        axes.annotate(words, (0, floor), (4, 4), ("axes fraction", "data"), "offset points", color=MUTED, fontsize=11)
    axes.set_xlabel("training steps")
    axes.set_ylabel("validation PSNR (dB)")
    name_ends(
        axes,
        {
            label: Named(label, float(curve.steps[-1]), float(curve.mean[-1]), f"row-{places[label]}-name")
            for label, curve in drawn.items()
        },
    )
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ends = "; ".join(
        f"{label}: {curve.mean[-1]:.2f} dB after {curve.steps[-1]:,.0f} steps" for label, curve in drawn.items()
    )
    return to_svg(
        figure, "validation", f"Validation PSNR over training steps. At the end, {ends}.", _titles(drawn, places)
    )


@matplotlib.rc_context(STYLE)
def loss_plot(term: str, number: int, curves: Mapping[str, Mapping[str, Curve]], places: Mapping[str, int]) -> Markup:
    """Returns a loss term over the training, a line per row, with its weight in the objective below."""
    drawn = {label: logged[LOSS + term] for label, logged in curves.items() if LOSS + term in logged}
    weights = {label: curves[label][WEIGHT + term] for label in drawn if WEIGHT + term in curves[label]}
    figure = new_figure(360, 270, left=62, right=10, bottom=44, top=10, hspace=0.12)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1)) if weights else (figure.subplots(), None)
    _draw_curves(upper, drawn, places)
    lowest = min(float(curve.low.min()) for curve in drawn.values())
    highest = max(float(curve.high.max()) for curve in drawn.values())
    if highest / _SPAN < lowest < highest / 5:  # a term that vanishes would leave no room for the others
        _log_axis(upper, "y", lowest, highest)
    upper.set_ylabel("loss")
    if lower is not None:
        _draw_curves(lower, weights, places)
        lower.set_ylabel("weight")
        top = max(float(curve.high.max()) for curve in weights.values()) or 1.0
        lower.set_ylim(0, 1.2 * top)
        lower.set_yticks([0, top], ["0", f"{top:.3g}"])
    last = lower if lower is not None else upper
    last.set_xlabel("training steps")
    last.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    last.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ends = "; ".join(f"{label}: {curve.mean[-1]:.3g}" for label, curve in drawn.items())
    description = f"Loss term {term} over training steps, and its weight. At the end, {ends}."
    return to_svg(figure, f"loss{number}", description, _titles(drawn, places))


@matplotlib.rc_context(STYLE)
def cost_plot(identity: str, name: str, unit: str, points: Sequence[Point], floor: float) -> Markup:
    """Returns PSNR over a cost, a labelled dot per row, and the line of those that nothing cheaper betters."""
    figure = new_figure(360, 320, left=54, right=14, bottom=46, top=12)
    axes = figure.subplots()
    costs = [point.cost for point in points]
    _log_axis(axes, "x", min(costs) / 1.35, max(costs) * 1.35)
    qualities = [floor, *(point.quality for point in points)]
    margin = 0.1 * (max(qualities) - min(qualities)) + 0.02
    axes.set_ylim(min(qualities) - margin, max(qualities) + margin)
    axes.axhline(floor, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate("bicubic", (0, floor), (4, 3), ("axes fraction", "data"), "offset points", color=MUTED, fontsize=11)
    frontier = _frontier([point for point in points if point.comparable])
    axes.step(
        [point.cost for point in frontier],
        [point.quality for point in frontier],
        where="post",
        color=MUTED,
        linewidth=1,
        zorder=1,
    )
    titles = {}
    for number, point in enumerate(points):
        gid = f"row-{point.place}" if point.place is not None else f"dot{number}"
        mark = MARKS[point.place % len(MARKS)] if point.place is not None else "."
        face = colour(point.place) if point.comparable else "none"
        axes.scatter(
            point.cost,
            point.quality,
            s=52,
            marker=mark,
            facecolor=face,
            edgecolor=colour(point.place),
            linewidth=1.6,
            zorder=3,
            gid=gid,
        )
        titles[gid] = f"{point.label}: {point.quality:.2f} dB, {point.cost:.4g} {unit}"
    name_dots(
        axes,
        [
            Named(point.label if point.place is not None else "", point.cost, point.quality, f"row-{point.place}-name")
            for point in points
        ],
    )
    axes.set_xlabel(f"{name} ({unit})")
    axes.set_ylabel("PSNR (dB)")
    said = "; ".join(titles.values())
    return to_svg(figure, identity, f"PSNR over {name}. {said}.", titles)


@matplotlib.rc_context(STYLE)
def forest_plot(name: str, effects: Sequence[tuple[str, Difference]]) -> Markup:
    """Returns differences in PSNR with their intervals, one below the other, and zero as a line."""
    left, right, line = 340, 190, 26
    figure = new_figure(1080, line * len(effects) + 62, left=left, right=right, bottom=46, top=16)
    axes = figure.subplots()
    for place, (setting, gain) in enumerate(effects):
        clear = gain.low > 0 or gain.high < 0
        axes.plot([gain.low, gain.high], [place, place], color=INK if clear else MUTED, linewidth=2)
        axes.plot([gain.mean], [place], marker="o", markersize=7, color=INK, markerfacecolor=INK if clear else "none")
        said = f"{signed(gain.mean)} [{signed(gain.low)}, {signed(gain.high)}]"
        axes.annotate(said, (1, place), (12, 0), ("axes fraction", "data"), "offset points", va="center")
        axes.annotate(
            cut(setting, 50), (0, place), (-12, 0), ("axes fraction", "data"), "offset points", va="center", ha="right"
        )
    axes.axvline(0, color=MUTED, linewidth=1.2)
    axes.set_ylim(len(effects) - 0.4, -0.6)
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("Δ PSNR (dB) to the reference, 95 % interval over faces")
    said = "; ".join(
        f"{setting}: {signed(gain.mean)} dB, {signed(gain.low)} to {signed(gain.high)}" for setting, gain in effects
    )
    return to_svg(figure, name, f"Differences in PSNR to the reference. {said}.")


def _draw_curves(axes: Axes, curves: Mapping[str, Curve], places: Mapping[str, int]) -> None:
    for label, curve in curves.items():
        place = places[label]
        shape: dict[str, Any] = {"color": colour(place), "linestyle": dash(place)}
        if len(curve.steps) <= 12:
            shape |= {"marker": MARKS[place % len(MARKS)], "markersize": 5}
        axes.plot(curve.steps, curve.mean, gid=f"row-{place}", **shape)
        if curve.seeds > 1:
            axes.fill_between(
                curve.steps,
                curve.low,
                curve.high,
                color=colour(place),
                alpha=0.16,
                linewidth=0,
                gid=f"row-{place}-band",
            )
    axes.set_xlim(0, 1.02 * max(float(curve.steps[-1]) for curve in curves.values()))


def _titles(curves: Mapping[str, Curve], places: Mapping[str, int]) -> dict[str, str]:
    return {
        f"row-{places[label]}": f"{label}{f', mean of {curve.seeds} seeds' if curve.seeds > 1 else ''}"
        for label, curve in curves.items()
    }


def _log_axis(axes: Axes, which: str, lowest: float, highest: float) -> None:
    """Makes an axis logarithmic, with numbers that are written out."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(lowest, highest)
    else:
        axes.set_yscale("log")
        axes.set_ylim(lowest / 1.15, highest * 1.15)
    decades = math.log10(highest / lowest) if highest > lowest else 0.0
    subs = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 0.7 else tuple(map(float, range(1, 10)))
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def _frontier(points: Sequence[Point]) -> list[Point]:
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.quality)):
        if not best or point.quality > best[-1].quality:
            best.append(point)
    return best
