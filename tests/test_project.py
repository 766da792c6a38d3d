"""The files around the code agree with it and with each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

import pkdn_lightning

ROOT = Path(__file__).parents[1]
CONSTRAINTS = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def same_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_holds_the_versions_that_are_tested():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    locked = {package["name"]: package.get("version") for package in lock}
    tested = {same_name(name): version for name, version in CONSTRAINTS.items()}
    shared = locked.keys() & tested.keys()
    assert len(shared) > 200
    assert {name: locked[name] for name in shared} == {name: tested[name] for name in shared}


def test_the_lock_names_what_the_project_needs():
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (own,) = (package for package in lock if package["name"] == "pkdn-lightning")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {same_name(re.match(r"[\w.-]+", line)[0]) for line in project["dependencies"]}
    assert {each["name"] for each in own["dependencies"]} == names
    assert own["optional-dependencies"].keys() == project["optional-dependencies"].keys()


@pytest.mark.parametrize("tool", ["ruff", "codespell", "nbstripout"])
def test_hooks_run_the_versions_that_checks_run(tool):
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (revision,) = (repository["rev"] for repository in hooks if tool in repository["repo"])
    assert revision.removeprefix("v") == CONSTRAINTS[tool]


def test_the_version_is_the_same_everywhere():
    version = pkdn_lightning.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_workflows_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            for step in job["steps"]:
                for command in re.findall(r"^make (.*)$", step.get("run", ""), re.MULTILINE):
                    assert set(command.split()) <= targets, (file.name, command)


@pytest.mark.skipif(not shutil.which("make"), reason="no make here")
def test_the_gpu_targets_install_nothing():
    targets = ["test-gpu", "bench-gpu", "campaign"]
    planned = subprocess.run(["make", "-n", *targets, "-C", str(ROOT)], capture_output=True, text=True)
    assert "experiments/campaign.py check" in planned.stdout
    assert "pip" not in planned.stdout


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available() or not shutil.which("make"), reason="would run them; or no make here")
def test_the_gpu_tests_need_neither_a_registry_nor_plugins_of_pytest():
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PIP_NO_INDEX": "1"}
    command = ["make", "test-gpu", f"GPU_PYTHON={sys.executable}", "-C", str(ROOT)]
    done = subprocess.run(command, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs a CUDA device; there is none here" in done.stdout


@pytest.mark.slow
def test_the_gpu_tests_pass_on_a_cpu():
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu"]
    environ = {**os.environ, "PKDN_GPU_TESTS_DEVICE": "cpu"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
