"""Every ablation, job by job: it composes, its parts can be built, and no two jobs are the same."""

import pytest
import torch
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pkdn_lightning.config import compose, conf_dir
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.config.resolvers import job_folder, register_resolvers
from pkdn_lightning.train.build import build_datamodule, build_objective

FILES = sorted((conf_dir() / "ablation").glob("*.yaml"))
COUNTS = {
    "attention": 4,
    "budget": 10,
    "degradation": 18,
    "encoding": 3,
    "features": 10,
    "lambdas": 9,
    "methods": 24,
    "modules": 4,
    "parser": 2,
    "parsing": 4,
    "placebo": 20,
    "schedule": 9,
    "seeds": 5,
    "student": 8,
}


def jobs_of(file) -> list[list[str]]:
    """Returns the overrides of each job of an ablation."""
    register_resolvers()
    cfg = OmegaConf.create({**yaml.safe_load(file.read_text()), "paths": {"stores": "stores"}})
    params = OmegaConf.to_container(cfg.hydra.sweeper.params, resolve=True)
    lines = [f"{key}={value}" for key, value in params.items()]
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(lines), None)
    return batch


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_jobs_differ(file):
    jobs = jobs_of(file)
    assert len(jobs) == COUNTS[file.stem]
    assert len({job_folder("+".join(job)) for job in jobs}) == len(jobs)
    check_jobs(jobs[-1:])


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_job_composes(file):
    check_jobs(jobs_of(file))


def check_jobs(jobs):
    resolved = []
    for job in jobs:
        own = [] if any(override.startswith("experiment=") for override in job) else ["experiment=student_small"]
        cfg = compose("train", [*own, *job])
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert plain not in resolved
        resolved.append(plain)
        with torch.device("meta"):
            build_network(cfg.model)
            if cfg.teacher.model:
                build_network(cfg.teacher.model)
        build_objective(cfg.objective)
        build_datamodule(cfg.data, seed=0, require_parsing=False)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_ablation_says_its_command_and_question_and_nothing_but_its_jobs(file):
    package, command, question = file.read_text().splitlines()[:3]
    assert package == "# @package _global_"
    assert command.startswith(("# pkdn train -m experiment=student_", "# pkdn train -m data="))
    assert command.endswith(f"ablation={file.stem}")
    assert "?" in question + file.read_text().splitlines()[3]
    content = yaml.safe_load(file.read_text())
    assert list(content) == ["hydra"]  # the command that repeats a single job leaves the ablation out
    assert list(content["hydra"]) == ["sweeper"]
    assert list(content["hydra"]["sweeper"]) == ["params"]
