"""A folder of a user, made from the template."""

import shutil
import sys
from pathlib import Path

import pytest

from pkdn_lightning import trust
from pkdn_lightning.data import degradation

TEMPLATE = Path(__file__).with_name("template")
TINY = (
    "data.source.train=16", "data.source.val=4", "data.source.test=4", "data.source.size_px=32", "data.scale=4",
    "logger=csv", "trainer=cpu", "trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
)  # fmt: skip
"""A training of seconds."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The template, copied into the current folder; its module is forgotten afterwards."""
    shutil.copytree(TEMPLATE, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(trust, "_named_by_user", set())
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    degradation._own.cache_clear()
    yield tmp_path
    sys.modules.pop("mine", None)
    degradation._own.cache_clear()
