"""Labels beside dots and at the ends of lines, placed so that they do not cover each other."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

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
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in axes.transData.transform(dots)]
    for label in labels:
        text = brief(label.text)
        x, y = axes.transData.transform((label.x, label.y))
        width = len(text) * _LETTER_PX
        for dx, dy in _OFFSETS:
            left = x + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
            box = Bbox.from_bounds(left, y + dy - SIZE_PX / 2, width, SIZE_PX)
            if box.count_overlaps(taken) or not (window.contains(*box.min) and window.contains(*box.max)):
                continue
            taken.append(box)
            leader = {**_LEADER, "shrinkB": 5} if (dx, dy) not in _NEAR else None
            side = "left" if dx > 0 else "right" if dx < 0 else "center"
            style: dict[str, Any] = {"ha": side, "va": "center", "fontsize": SIZE_PX, "arrowprops": leader}
            axes.annotate(text, label[1:3], (dx, dy), textcoords="offset points", gid=label.gid, **style)
            break


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
