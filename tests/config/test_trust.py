"""A configuration from a file of others names no function that this package did not expect."""

import sys

import pytest
from omegaconf import OmegaConf

from pkdn_lightning import train as verb
from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import find_class, make
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.train.training_run import run_training

CALL = {"_target_": "subprocess.call", "args": ["touch", "code_ran"]}
DETOURS = (
    "pkdn_lightning.files.os.system",
    "pkdn_lightning.config.instances.os.system",
    "pkdn_lightning.prepare.archives.shutil.rmtree",
    "pkdn_lightning.files.file_sha256",
    "torch.optim.optimizer.torch.load",
    "torch.optim_of_others.Adam",
    "lightning.pytorch.callbacks.checkpoint.os.system",
)


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """Returns a run that was stopped after its checkpoint."""
    folder = tmp_path_factory.mktemp("others") / "run"
    overrides = ["experiment=student_celeba", "teacher=none", "objective=reconstruction", "model.width=4",
                 "model.levels=1", "model.rcabs_per_level=1", "data.scale=4", "logger=csv", "trainer=cpu", "test=false",
                 "trainer.max_steps=1", "trainer.max_epochs=-1",
                 f"data.store={store.path}", f"run_dir={folder}"]  # fmt: skip
    result = run_training(compose("train", overrides))
    result.run.results.unlink()
    return result.run


@pytest.mark.parametrize(
    "key", ["optimizer", "model", "module", "scheduler", "callbacks.best", "callbacks.new", "logger.csv",
            "objective.sr.term", "model.width", "data.source"],
)  # fmt: skip
def test_a_tampered_run_folder_runs_no_code(run, key, monkeypatch, capsys, tmp_path):
    sound = run.config.read_text()
    cfg = OmegaConf.load(run.config)
    OmegaConf.update(cfg, key, CALL, merge=False, force_add=True)
    OmegaConf.save(cfg, run.config)
    monkeypatch.setattr(sys, "argv", ["train", f"resume={run.path}"])
    try:
        with pytest.raises(SystemExit) as ended:
            verb.main()
    finally:
        run.config.write_text(sound)
    assert not (tmp_path / "code_ran").exists()
    shown = capsys.readouterr().err
    if key == "data.source":  # a resumed training makes no store
        assert "Traceback" not in shown
        return
    assert ended.value.code == 1
    assert "subprocess.call" in shown or "module" in shown
    assert "Traceback" not in shown


def test_what_the_user_names_is_trusted_and_what_a_file_names_is_not(monkeypatch):
    with pytest.raises(ConfigError, match="PKDN_TRUSTED=collections"):
        make({"_target_": "collections.OrderedDict"}, "model")
    with pytest.raises(ConfigError, match="PKDN_TRUSTED=os"):
        make({"_target_": "torch.optim.Adam", "lr": {"_target_": "os.getcwd"}}, "optimizer")
    for detour in DETOURS:
        with pytest.raises(ConfigError, match=r"was not loaded|cannot be found"):
            find_class(detour, "optimizer")
    monkeypatch.setenv("PKDN_TRUSTED", "collections")
    assert make({"_target_": "collections.OrderedDict"}, "model") == {}
    monkeypatch.delenv("PKDN_TRUSTED")
    compose("train", ["model._target_=fractions.Fraction"])
    assert find_class("fractions.Fraction", "model").__name__ == "Fraction"


@pytest.mark.parametrize("content", ["foo: [", "", "- x", "seed: -4"])
def test_a_damaged_configuration_is_named(run, content, monkeypatch, capsys):
    sound = run.config.read_text()
    run.config.write_text(content)
    monkeypatch.setattr(sys, "argv", ["train", f"resume={run.path}"])
    try:
        with pytest.raises(SystemExit):
            verb.main()
    finally:
        run.config.write_text(sound)
    assert f"CheckpointError: {run.config} is damaged or of another origin" in capsys.readouterr().err
