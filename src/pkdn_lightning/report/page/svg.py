"""Plots as inline SVG that fits the page: its letters are text, its colours are the page's variables.

Matplotlib is given placeholder colours, which are replaced by CSS variables. So a plot follows the page's light and
dark colours, and a row has one colour everywhere.
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
_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"


def colour(place: int | None) -> str:
    """Returns the placeholder of a row's colour; a muted one for rows that have none of their own."""
    return MUTED if place is None else f"#0a0b{place:02x}"


def new_figure(width_px: float, height_px: float, **margins: float) -> Figure:
    """Returns an empty figure whose margins are given in pixels: left, right, bottom, top, and hspace as a ratio."""
    figure = Figure(figsize=(width_px / 72, height_px / 72), dpi=72)
    left, right = margins["left"] / width_px, 1 - margins["right"] / width_px
    bottom, top = margins["bottom"] / height_px, 1 - margins["top"] / height_px
    figure.subplots_adjust(left, bottom, right, top, hspace=margins.get("hspace", 0.2))
    return figure


def to_svg(figure: Figure, name: str, description: str, titles: Mapping[str, str] | None = None) -> Markup:
    """Returns a figure as an `<svg>` element.

    Args:
        figure: The figure; parts whose gid is `row-<n>...` get `data-row="<n>"`.
        name: Prefix of all ids, so that those of two plots on one page differ.
        description: Alternative text for readers who do not see it.
        titles: Tooltips by gid.
    """
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(text.getvalue())
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{_SVG}metadata", f"{_SVG}style")]:
            parent.remove(child)
    for element in root.iter():
        _adapt(element, name, titles or {})
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": description, "style": f"--width: {figure.get_figwidth() * 72:g}px"}
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    written = ElementTree.tostring(root, encoding="unicode")
    for placeholder, variable in _VARIABLES.items():
        written = written.replace(placeholder, variable)
    return Markup(re.sub(r"\s*\n\s*", " ", written))  # ElementTree has escaped every text


def _adapt(element: ElementTree.Element, name: str, titles: Mapping[str, str]) -> None:
    """Gives an element ids of its own, the page's font, and its tooltip."""
    gid = element.attrib.pop("id", "")
    row = re.match(r"row-(\d+)", gid)
    if row:
        element.set("data-row", row[1])
    elif gid and not re.match(r"[a-z]+_\d+$", gid):  # those are matplotlib's names of groups, which nothing refers to
        element.set("id", f"{name}-{gid}")
    if gid in titles:
        title = ElementTree.Element(f"{_SVG}title")
        title.text = titles[gid]
        element.insert(0, title)
    for key, value in element.attrib.items():
        if key in (_HREF, "clip-path"):
            element.set(key, value.replace("#", f"#{name}-", 1))
        elif key == "style":
            element.set(key, re.sub(r"font-family:[^;]*;\s*", "", value))
