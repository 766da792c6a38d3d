"""Plots: where names stand, and that text from outside is drawn as it is."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text

from pkdn_lightning.report.curves import LOSS, VALIDATION, WEIGHT, Curve
from pkdn_lightning.report.page.label_placement import Label, label_dots, label_ends
from pkdn_lightning.report.page.plots import Point, cost_plot, forest_plot, loss_plot, validation_plot
from pkdn_lightning.report.page.svg import STYLE, new_figure
from pkdn_lightning.report.scores import Difference
from tests.report.pages import parse

WILD = "$\\frac{1}{ <b>&\"' ^_%"


@pytest.fixture
def axes():
    with matplotlib.rc_context(STYLE):
        yield new_figure(400, 300, left=50, right=100, bottom=40, top=10).subplots()


def curve(*values: float) -> Curve:
    steps = np.arange(1.0, 1 + len(values))
    return Curve(steps, np.array(values), np.array(values) - 1, np.array(values) + 1, 2)


class TestNames:
    def test_ends_stand_beside_their_lines_where_there_is_room(self, axes):
        axes.plot([0, 1], [0, 0])
        axes.plot([0, 1], [0, 10])
        axes.axhline(30)  # stretches the axis after it was drawn on
        label_ends(axes, [Label(str(y), 1, y, "") for y in (0, 10)])
        for text, y in zip(axes.texts, (0, 10), strict=True):
            assert text.xyann[1] == pytest.approx(axes.transData.transform((1, y))[1])

    def test_ends_that_would_meet_are_moved_apart_around_them(self, axes):
        heights = [5.0, 5.01, 5.02, 5.03]
        axes.plot([0, 1], [0, 10])
        label_ends(axes, [Label(str(y), 1, y, "") for y in heights])
        placed = [text.xyann[1] for text in axes.texts]
        assert [text.get_text() for text in axes.texts] == [str(y) for y in heights]
        assert min(np.diff(placed)) >= 15 - 1e-6
        assert np.mean(placed) == pytest.approx(axes.transData.transform((1, 5.015))[1], abs=1)

    def test_dots_that_find_no_room_are_left_to_the_legend(self, axes):
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        label_dots(axes, [(0.5, 0.5)], [Label(f"a rather long name {place}", 0.5, 0.5, "") for place in range(30)])
        assert 2 <= len(axes.texts) < 30
        axes.figure.draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in axes.texts]  # without its thread
        for one, other in itertools.combinations(boxes, 2):
            width = min(one.x1, other.x1) - max(one.x0, other.x0)
            height = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(width, height) < 4


@pytest.mark.parametrize(
    ("lowest", "highest"), [(0.06, 0.2), (70, 150), (1.06, 1.94), (0.9e-5, 1.7e-5), (900, 20_000), (0.01, 5000)]
)
def test_ticks_of_a_logarithm_do_not_touch(lowest, highest):
    points = [Point("a", 0, lowest * 1.35, 20.0, True), Point("b", 1, highest / 1.35, 21.0, True)]
    svg = parse(str(cost_plot("a", "Cost", "units", points, 19.0)))
    texts = svg.one("g", id="a-matplotlib.axis_1").all("text")[:-1]  # the last one is the axis' title
    ticks = sorted((float(text.attrs["x"]), len(text.text)) for text in texts)
    assert ticks
    for (one, length), (other, next_length) in itertools.pairwise(ticks):
        assert other - one > 7 * (length + next_length) / 2


class TestForest:
    ONE = Difference(0.1, 0.05, 0.15, 0.01, 0.01)
    BOTH = ONE._replace(seeds_faces_low=-0.2, seeds_faces_high=0.4, common_seeds=2)

    @pytest.mark.parametrize(
        ("gains", "caption", "filled"),
        [
            ([ONE], "over faces", 1),
            ([BOTH], "over seeds and faces", 0),
            ([ONE, BOTH], "over seeds and faces (dashed: over faces alone)", 1),
        ],
    )
    def test_the_interval_that_is_drawn_is_named_and_fills_the_dot(self, gains, caption, filled):
        svg = parse(str(forest_plot("f", [(str(place), gain) for place, gain in enumerate(gains)])))
        texts = [text.text for text in svg.all("text")]
        assert f"Δ PSNR (dB) to the reference, 95 % interval {caption}" in texts
        assert ("+0.100 [−0.200, +0.400]" in texts) is (self.BOTH in gains)
        dots = [use.attrs["style"] for use in svg.all("use") if "--ink" in use.attrs.get("style", "")]
        assert sum("fill: var(--ink)" in style for style in dots) == filled
        assert sum("fill: var(--panel)" in style for style in dots) == len(gains) - filled


class TestText:
    def test_labels_are_taken_for_nothing_but_text(self):
        points = [Point(WILD, 0, 1.0, 20.0, True), Point("b", None, 1.0, 20.0, False)]
        curves = {WILD: {VALIDATION: curve(1, 2), LOSS + WILD: curve(1, 2), WEIGHT + WILD: curve(1, 0)}}
        difference = Difference(0.1, 0.0, 0.2, 0.5, 0.5)
        for svg in (
            cost_plot("a", "Cost", "units", points, 19.0),
            validation_plot(curves, {WILD: 0}, 1.5),
            loss_plot(WILD, 0, curves, {WILD: 0}),
            forest_plot("f", [(WILD, difference)]),
        ):
            page = parse(str(svg))
            assert not page.all("b")
            assert WILD in page.one("svg").attrs["aria-label"]
        assert WILD in [text.text for text in page.all("text")]

    def test_values_that_do_not_fit_a_logarithm_are_drawn(self):
        for values in ((0.0, 1.0), (1e-30, 1.0), (-1.0, 2.0), (3.0, 3.0), (1.0,)):
            curves = {"a": {LOSS + "sr": Curve(curve(*values).steps, *[np.array(values)] * 3, 1)}}
            assert parse(str(loss_plot("sr", 0, curves, {"a": 0}))).all("g", data_row="0")
