"""Names beside dots and at the ends of lines, placed so that they hide little of each other."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from matplotlib.axes import Axes

from pkdn_lightning.report.page.svg import MUTED

SIZE_PX: Final = 11
_LETTER_PX: Final = 6.1  # the mean width of a letter of that size, a little more than most fonts have
_LONGEST: Final = 26
_HIDDEN: Final = 0.08  # a name that hides more of others than this share of itself is left to the legend
_BEYOND_PX: Final = 4  # and so is one that reaches farther out of the plot
_NEAR: Final = ((9, 0), (-9, 0), (0, 11), (0, -11), (8, 10), (8, -10), (-8, 10), (-8, -10))
_OFFSETS: Final = tuple((reach * x, reach * y) for reach in (1.0, 1.9, 3.0) for x, y in _NEAR)


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float


class Named(NamedTuple):
    """A dot with a name.

    Attributes:
        name: The name; nothing is written if it is empty.
        x: Where the dot is, in data.
        y: Where the dot is, in data.
        gid: What the name is called in the figure.
    """

    name: str
    x: float
    y: float
    gid: str


def brief(label: str, longest: int = _LONGEST) -> str:
    """Returns a row's label for where there is little room.

    Example:
        >>> brief("PKDN (fs.weight=10, lr=0.1)")
        'PKDN (fs 10, lr 0.1)'
    """
    return cut(label.replace(".weight=", " ").replace("=", " "), longest)


def cut(text: str, longest: int) -> str:
    """Returns a text with an ellipsis where it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def name_dots(axes: Axes, dots: Sequence[Named]) -> None:
    """Writes names beside their dots, each where it hides least; those that find no room are left out."""
    window = axes.get_window_extent()
    inside = Box(window.x0, window.y0, window.x1, window.y1)
    at = [axes.transData.transform((dot.x, dot.y)) for dot in dots]
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    for dot, (x, y) in zip(dots, at, strict=True):
        text = brief(dot.name)
        places = {offset: _place(x, y, offset, len(text) * _LETTER_PX) for offset in _OFFSETS}
        hidden = {offset: sum(_overlap(box, other) for other in taken) for offset, box in places.items()}
        best = min(
            places, key=lambda each: hidden[each] + 20 * _outside(places[each], inside) + 0.2 * math.hypot(*each)
        )
        crowded = hidden[best] > _HIDDEN * len(text) * _LETTER_PX * SIZE_PX
        if not text or crowded or _outside(places[best], inside) > _BEYOND_PX:
            continue
        taken.append(places[best])
        side = "left" if best[0] > 0 else "right" if best[0] < 0 else "center"
        thread = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 5} if math.hypot(*best) > 16 else None
        axes.annotate(
            text,
            (dot.x, dot.y),
            best,
            textcoords="offset points",
            ha=side,
            va="center",
            fontsize=SIZE_PX,
            arrowprops=thread,
            gid=dot.gid,
        )


def name_ends(axes: Axes, ends: Mapping[str, Named]) -> None:
    """Writes names to the right of the plot, at the height of their lines' ends, moved apart where they would meet.

    Args:
        axes: The plot; its limits are settled with this.
        ends: Ends of lines by label.
    """
    axes.set_ylim(axes.get_ylim())  # asking settles them: until then, data have no place in pixels
    window = axes.get_window_extent()
    ordered = sorted(ends.values(), key=lambda end: end.y)
    heights = [float(axes.transData.transform((end.x, end.y))[1]) for end in ordered]
    apart = min(SIZE_PX + 4.0, window.height / max(1, len(heights)))
    # Pushed apart upwards, and pushed apart downwards: the mean of both keeps the distance, and stays near the lines.
    up, down = list(heights), list(heights)
    for place in range(1, len(heights)):
        up[place] = max(up[place], up[place - 1] + apart)
        down[-1 - place] = min(down[-1 - place], down[-place] - apart)
    heights = [(high + low) / 2 for high, low in zip(up, down, strict=True)]
    drift = max(0.0, max(heights) - window.y1) - max(0.0, window.y0 - min(heights))
    thread = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "relpos": (0, 0.5), "shrinkA": 2, "shrinkB": 4}
    for end, height in zip(ordered, (each - drift for each in heights), strict=True):
        axes.annotate(
            brief(end.name, 34),
            (end.x, end.y),
            (window.x1 + 14, height),
            textcoords="figure pixels",
            va="center",
            fontsize=SIZE_PX,
            arrowprops=thread,
            gid=end.gid,
            annotation_clip=False,
        )


def _place(x: float, y: float, offset: tuple[float, float], width: float) -> Box:
    left = x + offset[0] - (0 if offset[0] > 0 else width if offset[0] < 0 else width / 2)
    return Box(left, y + offset[1] - SIZE_PX / 2, left + width, y + offset[1] + SIZE_PX / 2)


def _outside(box: Box, window: Box) -> float:
    """Returns by how many pixels a box leaves a window."""
    return sum(
        max(0.0, beyond)
        for beyond in (
            window.left - box.left,
            window.bottom - box.bottom,
            box.right - window.right,
            box.top - window.top,
        )
    )


def _overlap(one: Box, other: Box) -> float:
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.top, other.top) - max(one.bottom, other.bottom)
    return max(0.0, width) * max(0.0, height)
