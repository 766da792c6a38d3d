"""The examples in docstrings give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import pkdn_lightning

SOURCE = Path(pkdn_lightning.__file__).parents[1]
MODULES = [
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted((SOURCE / "pkdn_lightning").rglob("*.py"))
    if ">>>" in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted
    assert not done.failed
