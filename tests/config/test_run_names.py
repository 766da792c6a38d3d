"""How runs are called, from what Hydra knows of a job."""

import re

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from pkdn_lightning.config.run_names import run_group, run_name, run_tags


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Returns a function that puts a job of Hydra's in place."""

    def put(*overrides: str, mode: RunMode = RunMode.RUN, typed: list[str] | None = None, params: dict | None = None):
        sweep = tmp_path / "multirun_2026-01-31"
        hydra = {
            "mode": mode,
            "overrides": {"task": list(overrides)},
            "runtime": {"output_dir": str(tmp_path / "here"), "choices": {"recipe": "fast", "ablation": None}},
            "sweep": {"dir": str(sweep)},
            "sweeper": {"params": params},
        }
        if typed is not None:
            sweep.mkdir()
            OmegaConf.save({"hydra": {"overrides": {"task": typed}}}, sweep / "multirun.yaml")
        monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": hydra}))
        return str(tmp_path / "here")

    return put


def test_a_run_is_called_by_what_was_typed(job):
    named = ("experiment=student", "data=helen", "size=full")
    here = job(*named, "+objective.ts.weight=0.5", "recipe=fast", "logger=csv", "data.store=x", "data.scale=4")
    assert run_name("student_helen", here) == "student_helen objective.ts.weight=0.5 recipe=fast data.scale=4 here"
    assert run_group("student_helen") == "student_helen"
    assert run_tags("celeba", 3, ["mine"]) == ["data=celeba", "seed=3", "recipe=fast", "mine"]


def test_a_job_of_a_sweep_is_called_by_what_is_swept_and_grouped_by_the_sweep(job):
    job_overrides = ["trainer.max_steps=5", "model.ffb=False", "objective.ts.weight=0.1", "seed=1"]
    typed = ["trainer.max_steps=5", "model.ffb=false", "objective.ts.weight=0.1,1", "seed=range(2)"]
    here = job(*job_overrides, mode=RunMode.MULTIRUN, typed=typed)
    assert run_name("demo", here) == "demo objective.ts.weight=0.1 seed=1"
    assert run_group("demo") == "demo/multirun_2026-01-31"


def test_what_an_ablation_sweeps_counts_as_swept(job):
    here = job("data.scale=4", "seed=1", mode=RunMode.MULTIRUN, typed=["data.scale=4"], params={"seed": "0,1"})
    assert run_name("demo", here) == "demo seed=1"


def test_a_run_that_nobody_typed_is_called_by_its_folder(job):
    job("objective.ts.weight=0.5")
    assert run_name("teacher_celeba", "runs/teacher_celeba/auto-12ab") == "teacher_celeba auto-12ab"


def test_names_of_width_are_told_apart(job):
    assert run_name("demo", job("model.width=8")) != run_name("demo", job("teacher.model.width=8"))


def test_long_names_end_after_a_word_and_differ(job):
    overrides = [f"model.option_number_{number}=12345" for number in range(20)]
    names = [run_name("demo", job(*overrides, f"seed={seed}")) for seed in (0, 1)]
    assert names[0] != names[1]
    for name in names:
        assert len(name) <= 120
        assert re.fullmatch(r"demo( model\.option_number_\d+=12345)+ … [0-9a-f]{8}", name)


def test_from_python_there_is_no_job(monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert run_name("demo", "runs/a") == "demo a"
    assert run_group("demo") == "demo"
    assert run_tags("celeba", 0, []) == ["data=celeba", "seed=0"]
