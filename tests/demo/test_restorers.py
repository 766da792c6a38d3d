"""Which models the demo takes together."""

import pytest

from pkdn_lightning.demo import server as serving
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.markup import footer, said, strip
from pkdn_lightning.demo.restorers import load_models
from pkdn_lightning.demo.views import View
from pkdn_lightning.errors import CheckpointError, ConfigError


def test_a_teacher_and_a_student_are_not_mixed_up(configured, model, teacher):
    with pytest.raises(ConfigError, match="other="):
        load_models(configured(f"teacher={model}"))
    with pytest.raises(ConfigError, match="Use a student"):
        load_models(configured(f"model={teacher}"))


def test_a_parser_without_a_teacher(configured, tmp_path):
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ConfigError, match="teacher= is not set"):
        load_models(configured("teacher=null", f"parser={tmp_path / 'weights.pth'}"))


def test_no_model_says_what_to_give(configured):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_models(configured("model=nowhere"))


def test_without_gradio_one_message(configured, monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pkdn-lightning\[demo\]'"):
        serving.serve(configured())


def test_what_comes_from_outside_is_escaped(models):
    import numpy as np

    assert "<b>" not in said("<b>", failed=True)
    assert "<b>" not in strip([View("<b>", np.zeros((2, 2, 3), np.uint8), "<b>")], "<b>")
    assert "10 minutes" in footer(models, Limits())
