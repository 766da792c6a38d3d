"""What docs/extending.md promises: everything of one's own works from the outside, without a change to the package."""

import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning import compose, load_model
from pkdn_lightning.config import conf_dir
from pkdn_lightning.config.help import help_text
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.config.verb import run_verb
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError
from pkdn_lightning.evaluate import evaluate
from pkdn_lightning.models.checkpoints import CARD_KEY
from pkdn_lightning.predict import predict
from pkdn_lightning.prepare.pipeline import ensure_store
from pkdn_lightning.report.rows import collect
from pkdn_lightning.train import train
from pkdn_lightning.train.resume import saved_config
from tests.extension.conftest import TEMPLATE, TINY

ROOT = conf_dir().parent

TINY_DATA = [each for each in TINY if each.startswith("data.")]


@pytest.fixture
def result(folder):
    return train(compose("train", ["experiment=mine", *TINY, "run_dir=runs/mine"]))


def test_the_template_trains_evaluates_and_predicts(result, folder):
    assert result.run.read_results()["experiment"] == "mine_grey"
    assert "train/loss/brightness" in result.run.metrics.read_text().splitlines()[0]
    assert sys.path[-1] == str(folder)  # last: no file of the folder replaces an installed package
    store = FaceStore.open("stores/grey")
    assert np.ptp(store.hr[0].astype(int), axis=-1).max() == 0  # the own source takes the colour away

    evaluated = evaluate(compose("evaluate", ["data=grey", "models.mine=runs/mine", "run_dir=evaluated", *TINY_DATA]))
    assert evaluated is not None

    Image.fromarray(store.hr[0][:8, :8].copy()).save("face.png")
    predict(compose("predict", ["model=runs/mine", "input=face.png", "output=restored", "mode=lr"]))
    assert Image.open("restored/face.png").size == (32, 32)


def test_the_own_degradation_is_what_is_trained_on(result):
    from mine import blurred

    from pkdn_lightning.data.degradation import degrade

    hr = torch.rand(2, 3, 32, 32)
    assert torch.equal(degrade(hr, 4, "mine.blurred"), blurred(hr, 4))
    assert torch.load(result.best, weights_only=True)[CARD_KEY]["degradation"] == "mine.blurred"
    with pytest.raises(ConfigError, match=r"was trained with data\.degradation=mine\.blurred"):
        evaluate(compose("evaluate", ["data=grey", "models.a=runs/mine", "data.degradation=pil", *TINY_DATA]))


def test_a_new_process_knows_what_the_folder_names(result, folder, monkeypatch):
    """A run of the folder is resumed, and a model of it is used, without composing its configuration."""
    del sys.modules["mine"]
    assert load_model("runs/mine")(torch.rand(1, 3, 8, 8)).sr.shape == (1, 3, 32, 32)
    resumed = saved_config("runs/mine", ["trainer.max_steps=6"])
    assert train(resumed).run.read_results()["steps"] == 6


def test_an_own_option_is_listed_and_has_a_name_of_its_own(folder):
    assert "shuffle" in help_text("train", [])
    (folder / "conf/model/sparnet.yaml").write_text("_target_: mine.Shuffle\n")
    with pytest.raises(ConfigError, match=r"conf/model/sparnet\.yaml would not be read.*model=my_sparnet"):
        compose("train", ["model=sparnet"])


def test_a_foreign_conf_folder_breaks_nothing(tmp_path):
    """Somebody else's Hydra project may have files of the same names."""
    for name in ("train", "data/celeba", "hydra/job_logging/theirs"):
        file = tmp_path / f"conf/{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("other: 1\n")
    assert compose("train", ["experiment=student"]).data.name == "celeba"


def broken(folder, module="", conf="_target_: mine.Shuffle\nscale: ${data.scale}\n"):
    (folder / "other.py").write_text(module)
    (folder / "conf/model/other.yaml").write_text(conf)


@pytest.mark.parametrize(
    ("module", "conf", "message"),
    [
        ("def (\n", "_target_: other.Net\n", r"cannot be imported: SyntaxError: .*other\.py, line 1\)"),
        ("x = 1 / 0\n", "_target_: other.Net\n", r"cannot be imported: ZeroDivisionError: .*other\.py, line 1\)"),
        ("class Network: ...\n", "_target_: other.Networ\n", r"cannot be found.*Did you mean 'Network'\?\nModules are"),
        ("", "_target_: othr.Net\n", r"No module named 'othr'.*\nModules are looked for .* in the current folder"),
    ],
)
def test_a_module_that_cannot_be_used_is_named_with_its_line(folder, module, conf, message):
    broken(folder, module, conf)
    with pytest.raises(ConfigError, match=message):
        build_network(compose("train", ["model=other", "data=portraits"]).model)
    sys.modules.pop("other", None)


@pytest.mark.parametrize(
    ("file", "text", "typed", "said"),
    [
        ("experiment/e", "defaults: [/model: shuffle]", "experiment=e", "'- override /model: shuffle'"),
        ("experiment/e", "defaults: [override model: shuffle]", "experiment=e", "'- override /model: <name>'"),
        (
            "model/listed",
            "[mine.Shuffle]",
            "model=listed",
            "In conf/model/listed.yaml: the file holds a list; expected",
        ),
    ],
)
def test_a_file_with_a_mistake_is_explained(folder, capsys, monkeypatch, file, text, typed, said):
    (folder / f"conf/{file}.yaml").write_text("# @package _global_\n" * (text[0] != "[") + f"{text}\n")
    monkeypatch.setattr(sys, "argv", ["pkdn", typed])
    with pytest.raises(SystemExit):
        run_verb("train", lambda cfg: None)
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_yaml_is_named_with_its_line(folder, capsys, monkeypatch):
    broken(folder, conf="_target_: mine.Shuffle\nwidth: [3\n")
    monkeypatch.setattr(sys, "argv", ["pkdn", "model=other"])
    with pytest.raises(SystemExit):
        run_verb("train", lambda cfg: None)
    assert re.search(r"^ConfigError: .*other\.yaml, line \d+ is not valid YAML: ", capsys.readouterr().err)


@pytest.mark.parametrize("verb", ["train", "prepare", "evaluate"])
def test_a_data_set_without_a_name(folder, capsys, monkeypatch, verb):
    (folder / "conf/data/nameless.yaml").write_text("store: stores/x\nsource: {_target_: mine.GreyPortraits}\n")
    monkeypatch.setattr(sys, "argv", ["pkdn", "data=nameless"])
    with pytest.raises(SystemExit):
        run_verb(verb, lambda cfg: cfg.run_dir if "run_dir" in cfg else cfg.data.name)
    told = "data.name has no value. In your file below conf/data: 'name: <value>'; or data.name=<value>"
    assert told in capsys.readouterr().err


def test_a_network_of_another_scale_is_told_before_the_training(folder):
    (folder / "conf/model/other.yaml").write_text("_target_: mine.Shuffle\nscale: 2\n")
    with pytest.raises(ConfigError, match=r"enlarges by 2, and data\.scale=4 makes .* Set data\.scale=2, or"):
        train(compose("train", ["experiment=mine", "model=other", *TINY, "run_dir=runs/mine"]))
    assert not (folder / "runs").exists()


def test_a_network_without_parameters(folder):
    own = "import mine\nfrom torch import nn\n\n\nclass Net(mine.Shuffle):\n"
    own += "    def __init__(self, scale):\n        super().__init__(scale)\n"
    own += "        self.head = self.tail = nn.Identity()\n"
    broken(folder, own, "_target_: other.Net\nscale: ${data.scale}\n")
    with pytest.raises(ConfigError, match="Net has no parameters"):
        train(compose("train", ["experiment=mine", "model=other", *TINY, "run_dir=runs/mine"]))
    sys.modules.pop("other", None)


@pytest.mark.parametrize(
    ("result", "found"),
    [("output.sr.mean((1, 2, 3))", r"a tensor of shape \(\d,\)"), ("0.5", "float"), ("None", "NoneType")],
)
def test_a_term_that_returns_no_scalar_is_named(folder, result, found):
    own = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(own.replace("(output.sr.mean() - hr.mean()).abs()", result))
    sys.modules.pop("mine", None)
    with pytest.raises(ConfigError, match=rf"Brightness, the objective's term 'brightness', returns {found}; expected"):
        train(compose("train", ["experiment=mine", *TINY, "run_dir=runs/mine"]))


def test_a_source_that_fails_is_named_with_the_face(folder):
    own = "import mine\n\n\nclass Boom(mine.PortraitsSource):\n    def read(self, candidate):\n        return 1 / 0\n"
    broken(folder, own)
    (folder / "conf/data/boom.yaml").write_text("defaults: [portraits]\nname: boom\nsource: {_target_: other.Boom}\n")
    with pytest.raises(DataError, match=r"Boom failed at train/\w+: ZeroDivisionError: .*other\.py, line 6\)"):
        ensure_store(compose("train", ["data=boom"]).data)
    assert not (folder / "stores/boom").exists()
    sys.modules.pop("other", None)


EVIL = "from pathlib import Path\nPath('ran').touch()\nclass Net:\n    pass\n"


def test_a_card_of_a_stranger_runs_no_module_of_the_folder(result, folder, monkeypatch):
    (folder / "evil.py").write_text(EVIL)
    checkpoint = torch.load(result.best, weights_only=True)
    checkpoint[CARD_KEY]["network"] = {"_target_": "evil.Net"}
    torch.save(checkpoint, "stranger.ckpt")
    with pytest.raises(CheckpointError, match=r"(?s)Only networks of .*PKDN_TRUSTED=evil pkdn"):
        load_model("stranger.ckpt")
    assert not (folder / "ran").exists()
    monkeypatch.setenv("PKDN_TRUSTED", "evil")
    with pytest.raises(CheckpointError, match="which is none"):
        load_model("stranger.ckpt")
    assert (folder / "ran").exists()
    del sys.modules["evil"]


def test_deltas_of_an_experiment_are_named_as_its_own(folder):
    with pytest.raises(ConfigError) as caught:
        compose("train", ["experiment=demo", "model=shuffle"])
    message = str(caught.value)
    assert "experiment=demo sets model.global_residual, model.rcabs_per_level (conf/experiment/demo.yaml)" in message
    removed = ["~model.rcabs_per_level", "~model.global_residual"]
    cfg = compose("train", ["experiment=demo", "model=shuffle", *removed])
    assert cfg.model.width == 16  # the network has this argument, too


def test_the_report_reads_runs_of_own_networks(result):
    found = collect("runs")
    assert ([row.method for row in found.rows], found.left_out) == (["Shuffle"], ())


def test_the_page_shows_the_whole_template():
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```(?:py|yaml)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for file in (file for file in TEMPLATE.rglob("*.*") if file.suffix in (".py", ".yaml")):
        rest = file.read_text(encoding="utf-8")
        for code in [code for code in shown if code in rest]:
            rest = rest.replace(code, "")
            shown.remove(code)
        assert not rest.strip(), f"{file.name} has more than the page shows:\n{rest}"
    assert shown == []


def test_the_library_takes_15_lines():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    (code,) = [
        each for each in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL) if "Trainer" in each
    ]
    assert len([line for line in code.splitlines() if line]) <= 15
