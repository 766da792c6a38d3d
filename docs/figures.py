"""Draws the figures of the page on the method from the networks themselves.

    python docs/figures.py

Names, channels and sizes are read off by running the networks (whole networks: which module is given what another one
made; blocks: torch.fx), so a figure changes when its network does. A test compares the files with what is drawn anew.
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from pkdn_lightning.networks.blocks import FFB, PFB, RCAB, Cascade, ChannelAttention, CSARAttention, Down, Up
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher

PARTS: Final = (nn.Conv2d, Down, Up, Cascade, FFB)
FILLS: Final = {"Conv2d": "conv", "Down": "conv", "Up": "conv", "PFB": "stage", "RCAB": "stage", "FFB": "fuse"}
OPERATIONS: Final[dict[Any, str]] = {
    F.relu: "ReLU", F.interpolate: "nearest", F.pixel_shuffle: "pixel shuffle", F.pixel_unshuffle: "unshuffle",
    F.leaky_relu: "ReLU", torch.cat: "concat", torch.sigmoid: "sigmoid", operator.add: "+",
    operator.sub: "−", operator.mul: "×",
}  # fmt: skip
STYLE: Final = (
    ".pkdn-figure{--ink:#1f2328;--soft:#59636e;--ground:#fff;--conv:#dbeaf5;--stage:#d5efe8;--fuse:#fbe7c6;"
    "--plain:#eceef1;--prior:#b3650a;font:12px system-ui,sans-serif;background:var(--ground)}"
    ".pkdn-figure text{fill:var(--ink);text-anchor:middle}.pkdn-figure .small{font-size:10px;fill:var(--soft)}"
    ".pkdn-figure .prior{fill:var(--prior);font-weight:700}"
    ".pkdn-figure path{fill:none;stroke:var(--soft);stroke-width:1.4}.pkdn-figure .kept{stroke-dasharray:5 4}"
    ".pkdn-figure .head{fill:var(--soft);stroke:none}.pkdn-figure rect{stroke:var(--soft);stroke-width:.8}"
)


class Part(NamedTuple):
    """A module of a network in one forward pass: who it is, whose outputs it was given, what it made."""

    name: str
    module: nn.Module
    sources: tuple[int, ...]
    reads_parsing: bool
    shape: tuple[int, ...]


def parts_of(net: nn.Module, lr_px: int = 16) -> list[Part]:
    """Returns the parts of a network in the order in which they ran."""
    found: list[Part] = []
    makers: dict[int, int] = {}
    alive: list[Tensor] = []  # an id is only a name as long as its tensor lives
    lr = torch.zeros(1, 3, lr_px, lr_px)
    parsing = [torch.zeros(1, net.parsing_channels, *[lr_px * net.scale] * 2)] if net.uses_parsing else []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            sources = tuple(makers[id(each)] for each in given if id(each) in makers)
            reads = any(each is parsing[0] for each in given if parsing)
            makers[id(made)] = len(found)
            alive.append(made)
            found.append(Part(name, module, sources, reads, tuple(made.shape[1:])))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in _parts(net)]
    with torch.inference_mode():
        net.eval()(lr, *parsing)
    for hook in hooks:
        hook.remove()
    return found


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, PARTS):
            yield prefix + name, child
        else:
            yield from _parts(child, f"{prefix}{name}.")


def draw_network(net: nn.Module) -> str:
    """Returns the drawing of an auto-encoder: a row per resolution, encoder to the left, decoder to the right."""
    parts = parts_of(net)
    sides = sorted({part.shape[-1] for part in parts}, reverse=True)
    turn = next(number for number, part in enumerate(parts) if part.name == "bottleneck")
    columns: dict[tuple[int, bool], int] = defaultdict(int)
    places = []
    for number, part in enumerate(parts):
        row, right = sides.index(part.shape[-1]), number > turn
        columns[row, right] += 1
        places.append((columns[row, right] - 1 + (3 if right else 0), row))
    canvas = Canvas()
    for number, part in enumerate(parts):
        for source in part.sources:
            (canvas.step if source == number - 1 else canvas.over)(places[source], places[number])
    for part, place in zip(parts, places, strict=True):
        label, kind = _label(part.module)
        canvas.box(place, label, _size(part.shape), FILLS[kind], mark="P" if part.reads_parsing else "")
    return canvas.svg(type(net).__name__)


def _label(module: nn.Module) -> tuple[str, str]:
    """Returns what a module is called in a figure, and the class that gives it its colour."""
    if isinstance(module, Cascade):
        kind = type(module[0]).__name__ if len(module) else "nothing"
        return (f"{len(module)} × {kind}" if len(module) > 1 else kind), kind
    if isinstance(module, nn.Conv2d):
        return f"conv{module.kernel_size[0]} {module.in_channels}→{module.out_channels}", "Conv2d"
    if isinstance(module, ChannelAttention):
        return "channel att.", "FFB"
    if isinstance(module, CSARAttention):
        return "spatial att.", "FFB"
    return type(module).__name__, type(module).__name__


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]} × {shape[1]}²" if shape[1] == shape[2] else " × ".join(map(str, shape))


class _Tracer(fx.Tracer):
    """Follows a block's own forward, and takes what it is made of as it is."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return True


def draw_block(block: nn.Module, *inputs: Tensor) -> str:
    """Returns the drawing of a block's forward pass, from top to bottom."""
    graph = fx.GraphModule(block, _Tracer().trace(block))
    ShapeProp(graph).propagate(*inputs)
    nodes = [node for node in graph.graph.nodes if node.op != "output" and "tensor_meta" in node.meta]
    places = _places(nodes)
    canvas = Canvas(width=118)
    for node in nodes:
        for source in (each for each in node.all_input_nodes if each in places):
            near = places[node][1] - places[source][1] == 1
            (canvas.line if near else canvas.beside)(places[source], places[node])
    for node in nodes:
        shape = _size(tuple(node.meta["tensor_meta"].shape[1:]))
        if node.op == "call_module":
            label, kind = _label(graph.get_submodule(node.target))
            canvas.box(places[node], label, str(node.target), FILLS.get(kind, "plain"))
        else:
            label = str(node.target) if node.op == "placeholder" else OPERATIONS[node.target]
            canvas.box(places[node], label, shape, "none" if node.op == "placeholder" else "plain")
    return canvas.svg(type(block).__name__)


def _places(nodes: Sequence[fx.Node]) -> dict[fx.Node, tuple[float, float]]:
    """Returns column and row of each node: below all that it reads, and as near to its readers as can be."""
    rows: dict[fx.Node, int] = {}
    for node in reversed(nodes):
        rows[node] = min((rows[user] for user in node.users if user in rows), default=len(nodes)) - 1
    first = min(rows.values())
    most = max(list(rows.values()).count(row) for row in set(rows.values()))
    places: dict[fx.Node, tuple[float, float]] = {}
    for row in sorted(set(rows.values())):
        members = [node for node in nodes if rows[node] == row]
        above = {node: [places[each][0] for each in node.all_input_nodes if each in places] for node in members}
        # What is read from the far left stays left; inputs come in the order of the arguments.
        members.sort(key=lambda node: sum(above[node]) / len(above[node]) if above[node] else nodes.index(node))
        for column, node in enumerate(members):
            places[node] = (column + (most - len(members)) / 2, row - first)
    return places


def draw_distillation(teacher: nn.Module, student: nn.Module) -> str:
    """Returns the drawing of what is compared: features of the same name, and the restored faces."""
    with torch.inference_mode():
        lr = torch.zeros(1, 3, 16, 16)
        taught = student(lr)
        guide = teacher(lr, torch.zeros(1, teacher.parsing_channels, 16 * teacher.scale, 16 * teacher.scale))
    canvas = Canvas(width=130, gap=(0, 12))
    names = [*(name for name in guide.features if name in taught.features), "sr"]
    for row, name in enumerate(names):
        canvas.across((0, row), (2, row), "λ_TS · L1" if name == "sr" else "λ_FS · L1")
        for column, whose, output in ((0, "teacher", guide), (2, "student", taught)):
            shape = tuple((output.sr if name == "sr" else output.features[name]).shape[1:])
            canvas.box((column, row), f"{whose}'s {name}", _size(shape), "conv" if name == "sr" else "stage")
    return canvas.svg("What the student is compared with")


class Canvas:
    """Boxes on a grid, and arrows between them."""

    def __init__(self, width: int = 96, height: int = 36, gap: tuple[int, int] = (16, 26)) -> None:
        self.size, self.gap, self.aside = (width, height), gap, 0
        self.boxes: list[str] = []
        self.lines: list[str] = []
        self.extent = [0.0, 0.0, 0.0, 0.0]

    def _corner(self, place: tuple[float, float]) -> tuple[float, float]:
        x, y = (place[axis] * (self.size[axis] + self.gap[axis]) for axis in (0, 1))
        self._reach(x, y)
        self._reach(x + self.size[0], y + self.size[1])
        return x, y

    def _reach(self, x: float, y: float) -> None:
        left, top, right, bottom = self.extent
        self.extent = [min(left, x), min(top, y), max(right, x), max(bottom, y)]

    def box(self, place: tuple[float, float], label: str, below: str, fill: str, mark: str = "") -> None:
        """Draws a box with two lines of text; `mark` stands in its corner."""
        x, y = self._corner(place)
        middle = x + self.size[0] / 2
        if fill != "none":
            rect = f'<rect x="{x:g}" y="{y:g}" width="{self.size[0]}" height="{self.size[1]}" rx="5"'
            self.boxes.append(f'{rect} style="fill:var(--{fill})"/>')
        self.boxes += [
            f'<text x="{middle:g}" y="{y + 15:g}">{escape(label)}</text>',
            f'<text class="small" x="{middle:g}" y="{y + 29:g}">{escape(below)}</text>',
        ]
        if mark:
            self.boxes.append(f'<text class="prior" x="{x + 9:g}" y="{y + 14:g}">{mark}</text>')

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draws an arrow from the bottom of a box to the top of one below."""
        (x0, y0), (x1, y1) = self._corner(start), self._corner(end)
        half = self.size[0] / 2
        turn = "" if x0 == x1 else f"V{y1 - self.gap[1] / 2:g}H{x1 + half:g}"
        self._arrow(f"M{x0 + half:g} {y0 + self.size[1]:g}{turn}V{y1:g}", (x1 + half, y1), "down")

    def step(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draws an arrow to the next box of a row, or around the corner into another row."""
        (x0, y0), (x1, y1) = self._corner(start), self._corner(end)
        width, height = self.size
        if y0 == y1:
            return self._arrow(f"M{x0 + width:g} {y0 + height / 2:g}H{x1:g}", (x1, y1 + height / 2), "right")
        begin, stop = (y0 + height, y1) if y1 > y0 else (y0, y1 + height)
        turn = min(begin, stop) + 8
        path = f"M{x0 + width / 2:g} {begin:g}V{turn:g}H{x1 + width / 2:g}V{stop:g}"
        return self._arrow(path, (x1 + width / 2, stop), "down" if y1 > y0 else "up")

    def over(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draws a dashed arrow above the boxes between two of a row."""
        (x0, y0), (x1, y1) = self._corner(start), self._corner(end)
        half, height = self.size[0] / 2, min(y0, y1) - 8
        self._reach(x0, height)
        self._arrow(f"M{x0 + half:g} {y0:g}V{height:g}H{x1 + half:g}V{y1:g}", (x1 + half, y1), "down", "kept")

    def beside(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draws a dashed arrow to the left of the boxes between two rows."""
        (x0, y0), (x1, y1) = self._corner(start), self._corner(end)
        self.aside += 1
        middle, edge = self.size[1] / 2, -10.0 * self.aside
        self._reach(edge, y0)
        at = y1 + middle
        self._arrow(f"M{x0:g} {y0 + middle:g}H{edge:g}V{at:g}H{x1:g}", (x1, at), "right", "kept")

    def across(self, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
        """Draws an arrow between two boxes of a row that are apart, with words on it."""
        (x0, y0), (x1, _) = self._corner(start), self._corner(end)
        middle, at = (x0 + self.size[0] + x1) / 2, y0 + self.size[1] / 2
        self._arrow(f"M{x0 + self.size[0]:g} {at:g}H{x1:g}", (x1, at), "right")
        self.boxes.append(f'<text class="small" x="{middle:g}" y="{at - 5:g}">{escape(text)}</text>')

    def _arrow(self, path: str, tip: tuple[float, float], way: str, kind: str = "line") -> None:
        head = {"down": "l-4 -7h8z", "up": "l-4 7h8z", "right": "l-7 -4v8z"}[way]
        self.lines += [f'<path class="{kind}" d="{path}"/>', f'<path class="head" d="M{tip[0]:g} {tip[1]:g}{head}"/>']

    def svg(self, title: str) -> str:
        """Returns the drawing."""
        left, top, right, bottom = self.extent
        width, height = right - left + 8, bottom - top + 8
        return "\n".join([
            f'<svg class="pkdn-figure" xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="{left - 4:g} {top - 4:g} {width:g} {height:g}" style="min-width:{min(width, 600):g}px">',
            f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *self.lines, *self.boxes, "</svg>", "",
        ])  # fmt: skip


def figures() -> dict[str, str]:
    """Returns every figure by the name of its file."""
    torch.manual_seed(0)
    teacher, student = PKDNTeacher(), PKDNStudent()
    feature = torch.zeros(1, 64, 32, 32)
    return {
        "teacher": draw_network(teacher),
        "student": draw_network(student),
        "distillation": draw_distillation(teacher, student),
        "pfb": draw_block(PFB(64, 3), feature, torch.zeros(1, 3, 128, 128)),
        "ffb": draw_block(FFB(64), feature, feature),
        "rcab": draw_block(RCAB(64), feature),
        "spatial_attention": draw_block(CSARAttention(64), feature),
    }


if __name__ == "__main__":
    folder = Path(__file__).parent / "figures"
    for name, drawing in figures().items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
