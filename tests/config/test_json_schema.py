"""The JSON schema of experiments: up to date, true to what is accepted, and refusing what is refused."""

import json

import jsonschema
import pytest
import yaml

from pkdn_lightning.config import conf_dir
from pkdn_lightning.config.json_schema import experiment_schema

FILES = sorted((conf_dir() / "experiment").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(experiment_schema())
    return jsonschema.Draft202012Validator(experiment_schema())


def test_the_file_is_what_is_generated():
    file = conf_dir() / "experiment.schema.json"
    assert json.loads(file.read_text()) == experiment_schema(), (
        "python -m pkdn_lightning.config.json_schema > conf/experiment.schema.json"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_accepts_the_experiments(validator, file):
    validator.validate(yaml.safe_load(file.read_text()))


def test_it_accepts_interpolations(validator):
    validator.validate(
        {"trainer": {"max_steps": "${oc.env:STEPS}"}, "objective": {"ts": {"weight": 1, "duration": None}}}
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"trainer": {"max_stepss": 1}},
        {"seed": -1},
        {"trainer": {"precision": "17"}},
        {"data": {"batch_size": "x"}},
        {"data": {"batch_size": 0}},
        {"objective": {"ts": {"weight": -1}}},
        {"objective": {"ts": {"wait": 1}}},
    ],
    ids=str,
)
def test_it_refuses_what_train_refuses(validator, wrong):
    assert not validator.is_valid(wrong)
