"""The cards of deviations have every method, and end the build of the site when they are wrong."""

import pytest
import yaml

from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.networks.pkdn import PKDNTeacher
from tests.docs.commands import ROOT, script


@pytest.fixture(scope="module")
def tables():
    return script(ROOT / "docs/tables.py")


@pytest.fixture(scope="module")
def deviations():
    return (ROOT / "docs/deviations.md").read_text(encoding="utf-8")


def methods():
    """Yields the experiments that are a method of their own: named after themselves, with the published recipe."""
    for file in sorted((ROOT / "conf/experiment").glob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if content.get("method") == file.stem and {"override /recipe": "fast"} not in content["defaults"]:
            yield file.stem


def test_every_method_has_a_card_of_five_columns(tables, deviations):
    cards = list(tables.cards(deviations))[1:]
    assert len(cards) == 12
    assert sorted(name for card in cards for name in card.experiments) == sorted(methods())
    for card in cards:
        lines = [line for line in card.text.splitlines() if line.startswith("|")]
        assert len(lines) > 4, card.title
        assert {line.count("|") for line in lines} == {6}, card.title
        topics = " ".join(line.split("|")[1] for line in lines)
        assert "parameters" in topics, card.title
        assert "optimiser" in topics or "DIC's card" in card.text, card.title


@pytest.mark.parametrize(("change", "said"), [
    (("{=parameters}", "{optimizer.rate}"), "URDGN: experiment=urdgn does not set optimizer.rate"),
    (("{=parameters}", "{trainer.max_steps}"), "URDGN: experiment=urdgn does not set trainer.max_steps"),
    (("parameters: 1054243", "parameters: 1054243 - 1"), "URDGN: 1,054,242 parameters; the network has 1,054,243"),
])  # fmt: skip
def test_a_wrong_card_is_named(tables, deviations, change, said):
    card = next(card for card in tables.cards(deviations) if card.title == "URDGN")
    with pytest.raises(ValueError, match=said):
        tables.fill_cards("\n## " + card.text.replace(*change))


@pytest.mark.slow  # `make docs` ends at the same mistakes
def test_every_key_has_a_value_and_every_size_is_right(tables, deviations):
    filled = tables.fill_cards(deviations)
    assert not tables.KEY.search(filled)
    for value in (
        *('"optimizer">RMSprop; lr 0.001; eps 1e-08; alpha 0.9', '"objective.fs.weight">10', '"scheduler">none'),
        *('"data.augmentation">none', '"trainer.max_steps">150,000', '"module.gate">yes'),
    ):
        assert f"<abbr title={value}</abbr>" in filled, value
    assert "| parameters | – | 15,740,091 | 15,740,067 |" in filled
    assert "sigma 1 at" in filled


def test_the_control_of_table_2_has_the_size_that_is_said(deviations):
    control = PKDNTeacher(pfb=False, ffb=False, rcabs_per_level=6)
    assert f"{count_parameters(control):,} parameters" in deviations


def test_published_values_are_listed_by_test_set(tables):
    page = tables.fill_atlas((ROOT / "docs/published.md").read_text(encoding="utf-8"))
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## CelebA", "## Helen", "## CelebA-HQ"]
    assert "| SPARNet | 27.43 | 0.8201 | SPARNet | CelebA |" in page
