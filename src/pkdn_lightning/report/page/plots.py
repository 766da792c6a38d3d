"""The plots of the page: learning curves, loss terms, quality against cost, and effects of single settings."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from pkdn_lightning.report.atlas import LINEAGES, Entry
from pkdn_lightning.report.curves import LOSS, VALIDATION, WEIGHT, Curve
from pkdn_lightning.report.page.label_placement import Label, label_dots, label_ends
from pkdn_lightning.report.page.svg import DASHES, INK, MARKS, MUTED, PANEL, STYLE, colour, new_figure, to_svg
from pkdn_lightning.report.scores import Difference
from pkdn_lightning.report.settings import cut
from pkdn_lightning.report.table1 import signed

_LARGEST_RANGE: Final = 1e5
_TICKS: Final = (1, 2, 5, 3, 7, 1.5, 4, 6, 8, 1.2)  # of a logarithmic axis, the first ones preferred
_LETTER_PX: Final = 7.4  # a letter in a wide font, as the page does not choose its font
_BESIDE: Final[dict[str, Any]] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}

Curves = Mapping[str, Mapping[str, Curve]]
"""Curves by row and logged name."""


class Point(NamedTuple):
    """A row in a plot of quality against cost."""

    label: str
    place: int | None  # number of its colour, if it has one
    cost: float
    quality: float  # PSNR in dB
    comparable: bool  # whether it sees what the other methods see


@matplotlib.rc_context(STYLE)
def validation_plot(curves: Curves, places: Mapping[str, int], bicubic: float | None) -> Markup | None:
    """Returns PSNR on the validation faces over the training, a line per row; None where nothing was logged."""
    drawn = {label: logged[VALIDATION] for label, logged in curves.items() if VALIDATION in logged}
    if not drawn:
        return None
    figure = new_figure(1080, 420, left=58, right=235, bottom=48, top=12)
    axes = figure.subplots()
    _draw_curves(axes, drawn, places)
    if bicubic is not None:
        _draw_bicubic(axes, bicubic, f"bicubic {bicubic:.2f} dB")
    axes.set_ylabel("validation PSNR (dB)")
    _step_axis(axes, 8)
    ends = {label: (float(curve.steps[-1]), float(curve.mean[-1])) for label, curve in drawn.items()}
    label_ends(axes, [Label(label, *end, f"row-{places[label]}-name") for label, end in ends.items()])
    words = "; ".join(f"{label}: {psnr:.2f} dB after {steps:,.0f} steps" for label, (steps, psnr) in ends.items())
    description = f"Validation PSNR over training steps. At the end, {words}."
    return to_svg(figure, "validation", description, _titles(drawn, places))


@matplotlib.rc_context(STYLE)
def loss_plot(term: str, number: int, curves: Curves, places: Mapping[str, int]) -> Markup:
    """Returns a loss term over the training, a line per row, with its weight in the objective below."""
    drawn = {label: logged[LOSS + term] for label, logged in curves.items() if LOSS + term in logged}
    weights = {label: curves[label][WEIGHT + term] for label in drawn if WEIGHT + term in curves[label]}
    figure = new_figure(360, 270, left=62, right=10, bottom=44, top=10, hspace=0.12)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1)) if weights else (figure.subplots(), None)
    _draw_curves(upper, drawn, places)
    lowest = min(float(curve.low.min()) for curve in drawn.values())
    highest = max(float(curve.high.max()) for curve in drawn.values())
    if highest / _LARGEST_RANGE < lowest < highest / 5:  # a term that vanishes would leave no room for the others
        upper.set(yscale="log", ylim=(lowest / 1.15, highest * 1.15))
        _log_ticks(upper.yaxis)
    upper.set_ylabel("loss")
    if lower is not None:
        _draw_curves(lower, weights, places)
        top = max(float(curve.high.max()) for curve in weights.values()) or 1.0
        lower.set(ylabel="weight", ylim=(0, 1.2 * top))
        lower.set_yticks([0, top], ["0", f"{top:.3g}"])
    _step_axis(upper if lower is None else lower, 5)
    ends = "; ".join(f"{label}: {curve.mean[-1]:.3g}" for label, curve in drawn.items())
    description = f"Loss term {term} over training steps, and its weight. At the end, {ends}."
    return to_svg(figure, f"loss{number}", description, _titles(drawn, places))


@matplotlib.rc_context(STYLE)
def cost_plot(identity: str, name: str, unit: str, points: Sequence[Point], bicubic: float) -> Markup:
    """Returns PSNR over a cost, a labelled dot per row, and the line of those that no cheaper one surpasses."""
    figure = new_figure(360, 320, left=54, right=14, bottom=46, top=12)
    axes = figure.subplots()
    lowest, highest = min(point.cost for point in points) / 1.35, max(point.cost for point in points) * 1.35
    qualities = [bicubic, *(point.quality for point in points)]
    margin = 0.1 * (max(qualities) - min(qualities)) + 0.02
    axes.set(xscale="log", xlim=(lowest, highest), ylim=(min(qualities) - margin, max(qualities) + margin))
    axes.set(xlabel=f"{name} ({unit})", ylabel="PSNR (dB)")
    _log_ticks(axes.xaxis)
    _draw_bicubic(axes, bicubic, "bicubic")
    frontier = _frontier([point for point in points if point.comparable])
    axes.step(*zip(*frontier, strict=True) if frontier else ([], []), where="post", color=MUTED, linewidth=1, zorder=1)
    titles, labels = {}, []
    for number, point in enumerate(points):
        own = colour(point.place)
        gid, mark = f"dot{number}", "."
        if point.place is not None:
            gid, mark = f"row-{point.place}", MARKS[point.place % len(MARKS)]
            labels.append(Label(point.label, point.cost, point.quality, f"{gid}-name"))
        face = own if point.comparable else "none"
        dot: dict[str, Any] = {"marker": mark, "facecolor": face, "edgecolor": own, "gid": gid}
        axes.scatter(point.cost, point.quality, s=52, linewidth=1.6, zorder=3, **dot)
        titles[gid] = f"{point.label}: {point.quality:.2f} dB, {point.cost:.4g} {unit}"
    label_dots(axes, [(point.cost, point.quality) for point in points], labels)
    return to_svg(figure, identity, f"PSNR over {name}. {'; '.join(titles.values())}.", titles)


@matplotlib.rc_context(STYLE)
def forest_plot(name: str, effects: Sequence[tuple[str, Difference]]) -> Markup:
    """Returns differences in PSNR with their intervals, one below the other, and zero as a line.

    An interval covers seeds and faces where there is such a one, else faces alone; the label of the axis says which.
    """
    figure = new_figure(1080, 26 * len(effects) + 62, left=340, right=190, bottom=46, top=16)
    axes = figure.subplots()
    kinds = {gain.covers_seeds for _, gain in effects}
    over = "seeds and faces" if True in kinds else "faces"
    dashed = " (dashed: over faces alone)" if len(kinds) > 1 else ""
    words = []
    for place, (setting, gain) in enumerate(effects):
        low, high = gain.interval
        clear = low > 0 or high < 0
        line: dict[str, Any] = {"color": INK if clear else MUTED, "linewidth": 2}
        axes.plot(
            [low, high], [place, place], linestyle="-" if gain.covers_seeds or not dashed else (0, (3, 2)), **line
        )
        axes.plot([gain.mean], [place], marker="o", markersize=7, color=INK, markerfacecolor=INK if clear else PANEL)
        numbers = f"{signed(gain.mean)} [{signed(low)}, {signed(high)}]"
        alone = ", over faces alone" if dashed and not gain.covers_seeds else ""
        words.append(f"{setting}: {signed(gain.mean)} dB, {signed(low)} to {signed(high)}{alone}")
        axes.annotate(numbers, (1, place), (12, 0), va="center", **_BESIDE)
        axes.annotate(cut(setting, 50), (0, place), (-12, 0), va="center", ha="right", **_BESIDE)
    axes.axvline(0, color=MUTED, linewidth=1.2)
    caption = f"95 % interval over {over}"
    axes.set(ylim=(len(effects) - 0.4, -0.6), xlabel=f"Δ PSNR (dB) to the reference, {caption}{dashed}")
    axes.yaxis.set_major_locator(NullLocator())
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return to_svg(figure, name, f"Differences in PSNR to the reference, {caption}. {'; '.join(words)}.")


@matplotlib.rc_context(STYLE)
def published_plot(name: str, entries: Sequence[Entry], places: Mapping[str, int]) -> Markup | None:
    """Returns published PSNR, a mark per source, and the measured rows with their intervals, a line per method.

    None where nothing was published.
    """
    if not entries:
        return None
    left = 24 + _LETTER_PX * max(len(entry.method) for entry in entries)
    figure = new_figure(1080, 30 * len(entries) + 62, left=left, right=20, bottom=46, top=16)
    axes = figure.subplots()
    titles = {}
    for place, (method, published, measured) in enumerate(entries):
        for number, row in enumerate(published):
            gid = f"source{place}-{number}"
            mark = MARKS[list(LINEAGES).index(row.lineage)]
            axes.scatter(row.psnr, place, marker=mark, s=44, facecolor="none", edgecolor=INK, linewidth=1.4, gid=gid)
            titles[gid] = f"{method}, {row.source}, {LINEAGES[row.lineage]}: {row.psnr:.2f} dB"
        for number, (label, psnr) in enumerate(measured):
            if math.isfinite(psnr.mean):
                gid, own = f"here{place}-{number}", colour(places.get(label))
                axes.plot([psnr.low, psnr.high], [place + 0.28] * 2, color=own, linewidth=4, alpha=0.5)
                axes.scatter(psnr.mean, place + 0.28, marker="|", s=90, color=own, linewidth=2.4, gid=gid)
                titles[gid] = f"{label}, measured here: {psnr.mean:.2f} dB, {psnr.low:.2f} to {psnr.high:.2f}"
        axes.annotate(method, (0, place), (-12, 0), va="center", ha="right", **_BESIDE)
    words = "; ".join(titles.values())
    axes.set(ylim=(len(entries) - 0.4, -0.6), xlabel="PSNR (dB)")
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(9))
    return to_svg(figure, name, f"Published and measured PSNR. {words}.", titles)


def _draw_bicubic(axes: Axes, psnr: float, text: str) -> None:
    axes.axhline(psnr, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.annotate(text, (0, psnr), (4, 4), color=MUTED, fontsize=11, **_BESIDE)


def _draw_curves(axes: Axes, curves: Mapping[str, Curve], places: Mapping[str, int]) -> None:
    for label, curve in curves.items():
        place = places[label]
        own, dashes = colour(place), DASHES[place // 6 % len(DASHES)]  # six hues in a row, then dashes too
        mark = MARKS[place % len(MARKS)] if len(curve.steps) <= 12 else ""
        axes.plot(curve.steps, curve.mean, gid=f"row-{place}", color=own, linestyle=dashes, marker=mark, markersize=5)
        if curve.seeds > 1:
            band: dict[str, Any] = {"color": own, "alpha": 0.16, "linewidth": 0, "gid": f"row-{place}-band"}
            axes.fill_between(curve.steps, curve.low, curve.high, **band)
    axes.set_xlim(0, 1.02 * max(float(curve.steps[-1]) for curve in curves.values()))


def _titles(curves: Mapping[str, Curve], places: Mapping[str, int]) -> dict[str, str]:
    return {
        f"row-{places[label]}": f"{label}{f', mean of {curve.seeds} seeds' if curve.seeds > 1 else ''}"
        for label, curve in curves.items()
    }


def _step_axis(axes: Axes, ticks: int) -> None:
    axes.set_xlabel("training steps")
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _log_ticks(axis: Axis) -> None:
    """Sets the ticks of a logarithmic axis, with numbers that are written out and do not touch each other."""
    low, high = axis.get_view_interval()
    window, across = axis.axes.get_window_extent(), isinstance(axis, XAxis)
    decade = (window.width if across else window.height) / math.log10(high / low)  # in pixels
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    ticks: dict[float, str] = {}
    for value in (float(f"{factor}e{exponent}") for factor in _TICKS for exponent in exponents):
        text = f"{value:,.6g}"
        room = {tick: _LETTER_PX * (len(text) + len(other)) / 2 + 8 if across else 20 for tick, other in ticks.items()}
        if low <= value <= high and all(decade * abs(math.log10(value / tick)) >= room[tick] for tick in ticks):
            ticks[value] = text
    axis.set_ticks(list(ticks), list(ticks.values()))
    axis.set_minor_locator(NullLocator())


def _frontier(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Returns cost and quality of the points that no cheaper one surpasses, by cost."""
    best: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.quality)):
        if not best or point.quality > best[-1][1]:
            best.append((point.cost, point.quality))
    return best
