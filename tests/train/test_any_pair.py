"""Distillation between networks of different width, depth or family, by the verb."""

import copy

import pytest
import torch

from pkdn_lightning import load_model
from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.train import train
from pkdn_lightning.train.build import build_module
from pkdn_lightning.train.resume import saved_config
from tests.conftest import TINY

LONG_TERMS = ("objective.ts.schedule=constant", "objective.fs.schedule=constant")
RCAN = ("model=rcan", "model.width=4", "model.groups=2", "model.blocks=1")
OTHERS = {
    "another width": ("teacher.model.width=12", "objective.fs.term.adapters=true"),
    "another depth": ("teacher.model.levels=1", "objective.fs.term.adapters=true"),
    "another family": (*RCAN, "teacher.model.width=12", "teacher.model.levels=2", "objective.fs.term.adapters=true"),
    "layers by path": (*RCAN, "teacher.model.width=12", "teacher.model.levels=2", "objective.fs.term.adapters=true",
                       "module.features={d3:head}", "teacher.features={top:head}",
                       "objective.fs.term.levels={d3:down2,up1:top}"),
    "attention": ("teacher.model.width=12", "objective=distillation_attention"),
    "affinity": ("teacher.model.width=12", "objective=distillation_affinity"),
}  # fmt: skip


FIRST = ("layers by path", "attention")  # the others are slow; adapters between widths are tested below


@pytest.mark.parametrize(
    "other", [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]
)
def test_a_student_learns_from_another_network(other, store, tmp_path):
    tiny = [each for each in TINY if not (each.startswith("model.") and "model=rcan" in OTHERS[other])]
    places = [f"data.store={store.path}", f"run_dir={tmp_path / 'run'}", f"paths.runs={tmp_path / 'runs'}"]
    chosen = ["experiment=student_celeba", *tiny, *places, *OTHERS[other], *LONG_TERMS, "trainer.max_steps=3"]
    result = train(compose("train", chosen))
    columns, *rows = (line.split(",") for line in result.run.metrics.read_text().splitlines())
    values = [float(row[columns.index("train/loss/fs")]) for row in rows if row[columns.index("train/loss/fs")]]
    assert values
    assert all(value > 0 for value in values)
    state = torch.load(result.best, weights_only=True)["state_dict"]
    assert any(name.startswith("objective.") for name in state) == ("objective.fs.term.adapters=true" in OTHERS[other])


def test_adapters_are_in_no_network_that_is_used(tiny_config, tmp_path):
    """Neither in the averaged weights nor in the file that is exported or predicted with; a resumed run has them."""
    pair = ("teacher.model.width=12", "objective.fs.term.adapters=true", *LONG_TERMS, "ema=standard")
    whole = train(tiny_config(*pair, run="whole"))
    half = train(tiny_config(*pair, "trainer.max_steps=3", run="half"))
    resumed = train(saved_config(str(half.run.path), ["trainer.max_steps=6"]))
    states = [torch.load(run.last, weights_only=True) for run in (whole.run, resumed.run)]
    adapters = [name for name in states[0]["state_dict"] if name.startswith("objective.terms.fs.convs.")]
    assert adapters
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name

    names = load_model(whole.run.path).state_dict().keys()
    assert not any("convs" in name for name in names)
    assert whole.run.read_results()["params"] == count_parameters(load_model(whole.run.path))


def test_a_full_size_teacher_and_a_small_student(tmp_path):
    small = ("model.width=16", "model.rcabs_per_level=2", "module.channels_last=false")
    overrides = ("experiment=student_celeba", *small, "teacher.model.width=64", "objective.fs.term.adapters=true")
    cfg = compose("train", overrides)
    net, teacher = build_network(cfg.model), build_network(cfg.teacher.model)
    assert count_parameters(net) < 0.2e6 < 3e6 < count_parameters(teacher)
    before = copy.deepcopy(net.state_dict())
    module = build_module(cfg, net, teacher, {})
    shapes = {tuple(conv.weight.shape[:2]) for conv in module.objective.terms["fs"].convs.values()}
    assert shapes == {(64, 16)}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())


def test_features_by_layer_are_for_students():
    cfg = compose("train", ["experiment=teacher_celeba", "model.width=8", "module.features={a:head}"])
    with pytest.raises(ConfigError, match=r"module\.features is for students"):
        build_module(cfg, build_network(cfg.model), None, {})
