"""The figures on the page of the method show the networks as they are."""

import re

import pytest
import torch

from pkdn_lightning.networks.blocks import PFB
from pkdn_lightning.networks.pkdn import PKDNTeacher
from tests.docs.commands import ROOT, script


@pytest.fixture(scope="module")
def figures():
    return script(ROOT / "docs/figures.py")


def test_they_are_what_is_drawn_from_the_networks(figures):
    drawn = figures.figures()
    files = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "docs/figures").glob("*.svg")}
    assert sorted(files) == sorted(drawn)
    for name, drawing in drawn.items():
        assert files[name] == drawing, f"docs/figures/{name}.svg is of another network. Type: python docs/figures.py"


def words(drawing):
    return re.findall(r"<text[^>]*>([^<]+)</text>", drawing)


def test_a_change_of_a_network_changes_its_figure(figures):
    whole = words(figures.draw_network(PKDNTeacher(width=8)))
    assert whole.count("PFB") == 9
    assert whole.count("P") == 9  # they read the parsing map
    assert whole.count("FFB") == 4
    assert "8 × 16²" in whole
    without = words(figures.draw_network(PKDNTeacher(width=8, levels=3, pfb=False, ffb=False, rcabs_per_level=2)))
    assert without.count("2 × RCAB") == 7
    assert {"PFB", "FFB", "P"}.isdisjoint(without)
    assert "conv3 6→8" in without  # the map enters at the head


def test_a_block_is_drawn_as_it_computes(figures):
    feature, parsing = torch.zeros(1, 8, 4, 4), torch.zeros(1, 19, 32, 32)
    drawn = words(figures.draw_block(PFB(8, 19), feature, parsing))
    assert [word for word in drawn if word.startswith("conv")] == [
        "conv3 8→8", "conv3 19→8", "conv3 16→8", "conv1 16→8",
    ]  # fmt: skip
    assert drawn.count("concat") == 2
    assert "19 × 32²" in drawn
    assert "19 × 4²" in drawn  # brought to the feature's size
