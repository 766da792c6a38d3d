"""Plots as inline SVG that is at home on the page: its letters are text, its colours are the page's variables.

Matplotlib is given colours that stand for names. They are exchanged for CSS variables, so that a plot follows the
page into the dark and onto paper, and a row has one colour everywhere.
"""

import io
import re
from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

COLOURS: Final = 12
"""How many rows can be told apart by colour, dashes and marks; page.css has as many variables."""

INK, MUTED, GRID, PANEL = "#010101", "#020202", "#030303", "#040404"
_VARIABLES: Final = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PANEL: "var(--panel)"} | {
    f"#0a0b{place:02x}": f"var(--row-{place})" for place in range(COLOURS)
}
DASHES: Final = ("-", (0, (6, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
MARKS: Final = "osD^vPX*<>hd"

STYLE: Final[Any] = {  # Matplotlib types the keys as literals, and other ones in every release
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 12, "text.color": INK, "figure.facecolor": "none",
    "axes.facecolor": "none", "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "axes.titlesize": 12, "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "axes.formatter.useoffset": False, "axes.formatter.limits": (-4, 6),
    "grid.color": GRID, "grid.linewidth": 0.8, "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK,
    "ytick.labelcolor": INK, "xtick.labelsize": 11, "ytick.labelsize": 11, "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}  # fmt: skip
_SVG: Final = "http://www.w3.org/2000/svg"
_XLINK: Final = "http://www.w3.org/1999/xlink"


def colour(place: int | None) -> str:
    """Returns what stands for the colour of a row; a muted one for rows that have none of their own."""
    return MUTED if place is None else f"#0a0b{place:02x}"


def dash(place: int | None) -> Any:
    """Returns the dashes of a row's lines: six rows in a row have their own hue, the next ones dashes too."""
    return DASHES[0] if place is None else DASHES[place // 6 % len(DASHES)]


def new_figure(width_px: float, height_px: float, **margins: float) -> Figure:
    """Returns an empty figure whose margins are given in pixels: left, right, bottom, top, and hspace as a ratio."""
    figure = Figure(figsize=(width_px / 72, height_px / 72), dpi=72)
    figure.subplots_adjust(
        left=margins["left"] / width_px,
        right=1 - margins["right"] / width_px,
        bottom=margins["bottom"] / height_px,
        top=1 - margins["top"] / height_px,
        hspace=margins.get("hspace", 0.2),
    )
    return figure


def to_svg(figure: Figure, name: str, description: str, titles: Mapping[str, str] | None = None) -> Markup:
    """Returns a figure as an `<svg>` element.

    Args:
        figure: The figure; what it calls `row-<n>...` (gid) becomes `data-row="<n>"`.
        name: Comes before all ids, so that plots on one page do not meet.
        description: What is told to those who do not see it.
        titles: What is told about parts of it, by gid.
    """
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(text.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _adopt(element, name, titles or {})
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": description, "style": f"--width: {figure.get_figwidth() * 72:g}px"}
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    written = ElementTree.tostring(root, encoding="unicode")
    for stand_in, variable in _VARIABLES.items():
        written = written.replace(stand_in, variable)
    return Markup(re.sub(r"\s*\n\s*", " ", written))  # ElementTree has escaped every text


def _adopt(element: ElementTree.Element, name: str, titles: Mapping[str, str]) -> None:
    """Gives an element ids of its own, the page's font, and what is told about it."""
    own = element.attrib.pop("id", None)
    row = re.match(r"row-(\d+)", own or "")
    if row:
        element.set("data-row", row[1])
    elif own and not re.match(r"[a-z]+_\d+$", own):  # those are matplotlib's names of groups, which nobody refers to
        element.set("id", f"{name}-{own}")
    if own and own in titles:
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = titles[own]
        element.insert(0, title)
    for key, value in element.attrib.items():
        if key == f"{{{_XLINK}}}href":
            element.set(key, value.replace("#", f"#{name}-", 1))
        elif key == "clip-path":
            element.set(key, value.replace("url(#", f"url(#{name}-", 1))
        elif key == "style":
            element.set(key, re.sub(r"font-family:[^;]*;\s*", "", value))
