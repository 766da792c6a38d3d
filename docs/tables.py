"""Fills the pages of the site that show values of the package: deviations.md and published.md.

    python docs/tables.py deviations.md

prints a page as the site has it. A key that is gone and a network of another size end the build.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.data.heatmaps import landmark_heatmaps
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.report.atlas import LINEAGES, MARKS, atlas_notes, entries, lineages_of, published_cells
from pkdn_lightning.report.methods import class_name
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, to_markdown

CARD: Final = re.compile(
    r"<!-- experiments: (?P<experiments>[\w ]+)(?:; overrides: (?P<overrides>\S+))?"
    r"; parameters: (?P<parameters>[-+\w ]+) -->\n\n"
)
KEY: Final = re.compile(r"\{(?:(?P<experiment>\w+):)?(?P<key>=?[\w.]+)(?::(?P<format>[^}]+))?\}")
PLACE: Final = "<!-- the tables are put here when the site is built -->"
SETS: Final = {"celeba": "CelebA", "helen": "Helen", "celeba_hq": "CelebA-HQ"}


class Card(NamedTuple):
    """A method's section of deviations.md."""

    title: str
    experiments: Sequence[str]
    overrides: Sequence[str]
    parameters: int | None  # what the authors' code has, less what is left out here
    text: str


def cards(markdown: str) -> Iterator[Card]:
    """Yields the sections of deviations.md; the one on all methods has no experiment of its own, and reads PKDN's."""
    for section in markdown.split("\n## ")[1:]:
        head = CARD.search(section)
        named = head["experiments"].split() if head else ["student"]
        overrides = [head["overrides"]] if head and head["overrides"] else []
        told = head["parameters"].replace(" ", "") if head else "none"
        parameters = None if told == "none" else sum(map(int, re.findall(r"[-+]?\d+", told)))
        yield Card(section.partition("\n")[0], named, overrides, parameters, section)


def fill_cards(markdown: str) -> str:
    """Returns deviations.md with every key replaced by its value."""
    filled = [markdown.partition("\n## ")[0]]
    for card in cards(markdown):
        found = parameters(card.experiments[0], *card.overrides)
        if card.parameters not in (None, found):
            raise ValueError(
                f"docs/deviations.md, {card.title}: {card.parameters:,} parameters; the network has {found:,}."
            )
        filled.append(KEY.sub(lambda key, card=card: _value(card, **key.groupdict()), CARD.sub("", card.text)))
    return "\n## ".join(filled)


@cache
def configuration(experiment: str, *overrides: str) -> DictConfig:
    """Returns what `pkdn train experiment=...` composes."""
    return compose("train", [f"experiment={experiment}", *overrides])


@cache
def parameters(experiment: str, *overrides: str) -> int:
    """Returns the size of an experiment's network."""
    model = configuration(experiment, *overrides).model
    with torch.device("meta"):  # sizes without numbers
        return count_parameters(build_network(OmegaConf.to_container(model, resolve=True)))


def heatmap_sigma() -> str:
    """Returns the width of the heatmaps in pixels, from the value one pixel beside a landmark."""
    maps = landmark_heatmaps(torch.tensor([[[3.5, 3.5]]]), 8, 8)[0, 0]
    diagonal = float(maps[3, 3])  # half a pixel away in both directions
    return f"{math.sqrt(-0.25 / math.log(diagonal)):.3g}"


def _value(card: Card, experiment: str | None, key: str, format: str | None) -> str:
    where = (experiment or card.experiments[0], *card.overrides)
    if key == "=parameters":
        return f"{parameters(*where):,}"
    if key == "=heatmap_sigma":
        return heatmap_sigma()
    try:
        value = OmegaConf.select(configuration(*where), key, throw_on_missing=True, default=KeyError)
    except Exception as error:
        raise ValueError(f"docs/deviations.md, {card.title}: {key} cannot be read: {error}") from error
    if value is KeyError or (key.startswith("trainer.max_") and value in (None, -1)):
        raise ValueError(f"docs/deviations.md, {card.title}: experiment={where[0]} does not set {key}.")
    text = format_value(value) if format is None else f"{value:{format}}"
    return f'<abbr title="{key}">{escape(text)}</abbr>'


def format_value(value: Any) -> str:
    """Returns a value of a configuration in words; of a mapping what is set and not 0."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, ListConfig):
        return ", ".join(map(format_value, value))
    if isinstance(value, DictConfig):
        named = [class_name(value["_target_"])] if "_target_" in value else []
        given = {key: each for key, each in value.items() if key != "_target_" and each not in (None, 0, False)}
        return "; ".join([*named, *(f"{key} {format_value(each)}" for key, each in given.items())]) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else class_name(value) if ".networks." in str(value) else str(value)


def fill_atlas(markdown: str) -> str:
    """Returns published.md with a table of ranges and a table of all values per test set."""
    return markdown.replace(PLACE, "\n".join(f"## {name}\n\n{_atlas(key)}" for key, name in SETS.items()))


def _atlas(dataset: str) -> str:
    found = entries(dataset)
    lineages = lineages_of(found)
    columns = ["Method", *(LINEAGES[each] for each in lineages), "Spread"]
    ranges = [[Cell(entry.method), *published_cells(entry, lineages)] for entry in found]
    values = [row for entry in found for row in entry.published]
    listed = [_line(row._asdict()) for row in values]
    names = ["Method", "PSNR (dB)", "SSIM", "Crops", "Trained on", "Metric", "Source", "Where"]
    notes = atlas_notes(values)
    tables = [
        Table(f"Published PSNR (dB), {SETS[dataset]}", columns, [Section(ranges)]),
        Table(f"All values, {SETS[dataset]}", names, [Section(listed)], notes[-1:]),
    ]
    return "\n".join(map(to_markdown, tables))


def _line(row: Mapping[str, Any]) -> list[Cell]:
    ssim = f"{row['ssim']:.4f}" if row["ssim"] else NONE
    source = row["source"] + MARKS.get(row["evidence"], "")
    texts = row["method"], f"{row['psnr']:.2f}", ssim, row["lineage"], row["training"], row["protocol"]
    return [Cell(text) for text in (*texts, source, row["where"])]


FILLED: Final[Mapping[str, Callable[[str], str]]] = {"deviations.md": fill_cards, "published.md": fill_atlas}
"""The pages, and what fills them."""

if __name__ == "__main__":
    page = sys.argv[1]
    sys.stdout.write(FILLED[page]((Path(__file__).parent / page).read_text(encoding="utf-8")))
