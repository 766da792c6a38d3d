"""Labels beside dots and at the ends of lines, placed so that they do not cover each other."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pkdn_lightning.report.page.svg import MUTED
from pkdn_lightning.report.settings import cut

SIZE_PX: Final = 11
_LETTER_PX: Final = 6.1  # the mean width of a letter of that size, a little more than most fonts have
_LINE_PX: Final = SIZE_PX + 4.0
_NEAR: Final = ((9, 0), (-9, 0), (0, 11), (0, -11), (8, 10), (8, -10), (-8, 10), (-8, -10))
_OFFSETS: Final = tuple((reach * x, reach * y) for reach in (1.0, 1.9, 3.0) for x, y in _NEAR)
_LEADER: Final[dict[str, Any]] = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6}


class Label(NamedTuple):
    """A label: its text, the point that it names, in data coordinates, and its id in the figure."""

    text: str
    x: float
    y: float
    gid: str


def brief(label: str, longest: int = 26) -> str:
    """Returns a row's label for where there is little room.

    Example:
        >>> brief("PKDN (fs.weight=10, lr=0.1)")
        'PKDN (fs 10, lr 0.1)'
    """
    return cut(label.replace(".weight=", " ").replace("=", " "), longest)


def label_dots(axes: Axes, dots: Sequence[tuple[float, float]], labels: Sequence[Label]) -> None:
    """Writes labels beside dots, each at the nearest free place; those without one are left to the legend.

    Args:
        axes: The plot; its limits are set already.
        dots: All dots, in data coordinates: no label covers one.
        labels: The labels, the most important first.
    """
    window = axes.get_window_extent()
    places = axes.transData.transform(np.array(dots, float).reshape(-1, 2))
    taken = np.empty((len(dots) + len(labels), 4))  # left, bottom, right, top; labels are added as they are placed
    taken[: len(dots)] = np.hstack([places - 5, places + 5])
    count = len(dots)
    for label in labels:
        text = brief(label.text)
        x, y = axes.transData.transform((label.x, label.y))
        boxes = _candidates(x, y, len(text) * _LETTER_PX)
        inside = np.all((boxes[:, :2] >= window.min) & (boxes[:, 2:] <= window.max), axis=1)
        free = np.flatnonzero(inside & ~_overlap(boxes, taken[:count]))
        if not len(free):
            continue
        taken[count] = boxes[free[0]]
        count += 1
        offset = _OFFSETS[free[0]]
        leader = {**_LEADER, "shrinkB": 5} if offset not in _NEAR else None
        side = "left" if offset[0] > 0 else "right" if offset[0] < 0 else "center"
        style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": SIZE_PX, "arrowprops": leader}
        axes.annotate(text, label[1:3], offset, textcoords="offset points", gid=label.gid, **style)


def _candidates(x: float, y: float, width: float) -> NDArray[np.float64]:
    """Returns the places of a label beside the dot (x, y), the nearest first: left, bottom, right, top in pixels."""
    dx, dy = np.array(_OFFSETS).T
    left = x + dx - np.select([dx > 0, dx < 0], [0.0, width], width / 2)
    bottom = y + dy - SIZE_PX / 2
    return np.stack([left, bottom, left + width, bottom + SIZE_PX], axis=1)


def _overlap(boxes: NDArray[np.float64], taken: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns which of the boxes (N, 4) overlap one of those in `taken` (M, 4)."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    apart = np.any((high <= taken[:, :2]) | (low >= taken[:, 2:]), axis=2)
    return np.any(~apart, axis=1)


def label_ends(axes: Axes, ends: Sequence[Label]) -> None:
    """Writes labels right of the plot, at the height of their lines' ends, moved apart where they would meet.

    Args:
        axes: The plot; its limits are final after this.
        ends: Ends of lines.
    """
    axes.set_ylim(axes.get_ylim())  # until limits are set, data have no place in pixels
    window = axes.get_window_extent()
    ordered = sorted(ends, key=lambda end: end.y)
    heights = [float(axes.transData.transform((end.x, end.y))[1]) for end in ordered]
    distance = min(_LINE_PX, window.height / max(1, len(heights)))
    # Pushed apart upwards, and pushed apart downwards: the mean of both keeps the distance, and stays near the lines.
    up, down = list(heights), list(heights)
    for place in range(1, len(heights)):
        up[place] = max(up[place], up[place - 1] + distance)
        down[-1 - place] = min(down[-1 - place], down[-place] - distance)
    heights = [(high + low) / 2 for high, low in zip(up, down, strict=True)]
    shift = max(0.0, max(heights) - window.y1) - max(0.0, window.y0 - min(heights))
    leader = {**_LEADER, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 4}
    for end, height in zip(ordered, heights, strict=True):
        axes.annotate(
            brief(end.text, 34), (end.x, end.y), (window.x1 + 14, height - shift), textcoords="figure pixels",
            va="center", fontsize=SIZE_PX, arrowprops=leader, gid=end.gid, annotation_clip=False,
        )  # fmt: skip
