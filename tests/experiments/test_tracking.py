"""Dashboards and the W&B sweep name what a training logs and what the configuration has."""

import importlib.util
import json
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from pkdn_lightning.config import compose, conf_dir
from pkdn_lightning.train import train
from pkdn_lightning.train.build import build_objective
from tests.train.wandb_log import read_log

FOLDER = conf_dir().parent / "experiments/tracking"


@pytest.fixture(scope="module")
def dashboards():
    spec = importlib.util.spec_from_file_location("dashboards", FOLDER / "dashboards.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["dashboards"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["dashboards"]


@pytest.fixture
def printed(dashboards, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", lambda *args: pytest.fail("the dry run went to the network"))
        dashboards.main(["--dry-run", "test_sets=[faces]"])
    return json.loads(capsys.readouterr().out)


def panels(node):
    """Yields the panels of a workspace or a report, wherever they are."""
    if isinstance(node, dict):
        if "viewType" in node:
            yield node["viewType"], node["config"]
        else:
            for each in node.values():
                yield from panels(each)
    elif isinstance(node, list):
        for each in node:
            yield from panels(each)


def names(config):
    """Yields the names of metrics and settings that a panel shows."""
    yield from (config[key] for key in ("xAxis", "yAxis", "targetKey") if isinstance(config.get(key), str))
    yield from (name for key in ("metrics", "mediaKeys") for name in config.get(key) or ())
    yield from (column["accessor"] for column in config.get("columns") or ())


def test_both_show_what_a_student_logs(printed, tiny_config):
    run = train(tiny_config("logger=wandb", "objective.ts.schedule=constant", "objective.fs.schedule=constant")).run
    log = read_log(run.path)
    logged = {key.split("._type")[0] for row in log.history for key in row} | log.summary.keys()
    for part in ("workspace", "report"):
        shown = {name for _, config in panels(printed[part]) for name in names(config)}
        assert {"val/psnr_y", "val/faces", "best/val/psnr_y", "test/faces/ssim_y"} <= shown
        for name in shown:
            if name.startswith("config:"):
                key = name.removeprefix("config:").replace(".value", "", 1)
                assert OmegaConf.select(OmegaConf.create(log.config), key) is not None, name
            else:
                assert name.removeprefix("summary:") in logged, name


def test_both_have_every_kind_of_panel(printed):
    for part in ("workspace", "report"):
        assert {kind for kind, _ in panels(printed[part])} == {
            "Run History Line Plot",
            "Bar Chart",
            "Scatter Plot",
            "Media Browser",
            "Parallel Coordinates Plot",
            "Parameter Importance",
            "Run Comparer",
            "Markdown Panel",
        }


@pytest.mark.parametrize(("argument", "message"), [("enttiy=me", "enttiy"), ("project=x", "entity=<user or team>")])
def test_a_mistake_is_named_before_anything_is_written(dashboards, argument, message):
    with pytest.raises(SystemExit, match=message):
        dashboards.main([argument])


def test_the_sweep_is_the_command_with_overrides_that_compose():
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # takes seconds

    sweep = yaml.safe_load((FOLDER / "sweep.yaml").read_text())
    command = create_sweep_command(sweep["command"])
    assert command[-4:] == ["python", "-m", "pkdn_lightning.train", "${args_no_hyphens}"]
    for pick in ("first", "last"):
        chosen = {key: {"value": value(spec, pick)} for key, spec in sweep["parameters"].items()}
        cfg = compose("train", create_sweep_command_args({"args": chosen})["args_no_hyphens"])
        for key, spec in chosen.items():
            if key not in ("experiment", "recipe"):  # groups
                assert OmegaConf.select(cfg, key) == spec["value"], key
        assert build_objective(cfg.objective).needs_teacher()
    assert sweep["metric"] == {"name": "best/val/psnr_y", "goal": "maximize"}


def value(spec, pick):
    if "value" in spec:
        return spec["value"]
    if "values" in spec:
        return spec["values"][0 if pick == "first" else -1]
    return spec["min" if pick == "first" else "max"]
