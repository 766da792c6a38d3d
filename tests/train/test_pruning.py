"""Successive halving among jobs that know of each other by their folders alone."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.files import write_json
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train import train
from pkdn_lightning.train.callbacks import SuccessiveHalving, TrainingPrunedError


def validate(name: str, psnr: float, step: int) -> None:
    trainer = SimpleNamespace(
        sanity_checking=False,
        global_step=step,
        estimated_stepping_batches=100,
        callback_metrics={"val/psnr_y": psnr},
    )
    Path(name).mkdir(exist_ok=True)
    SuccessiveHalving(name, rungs=(0.1, 0.5), reduction=3).on_validation_end(trainer, None)


def test_one_in_three_goes_on():
    validate("a", 20.0, 10)
    validate("b", 19.0, 10)  # the first two go on, whatever they reached
    with pytest.raises(TrainingPrunedError, match="2 of 2 other jobs") as caught:
        validate("c", 18.0, 12)
    assert (caught.value.score, caught.value.step) == (18.0, 12)
    validate("d", 21.0, 10)
    with pytest.raises(TrainingPrunedError):
        validate("e", 20.5, 10)
    validate("f", 20.6, 10)  # of six, two


def test_a_rung_is_passed_once_and_rungs_are_apart():
    validate("a", 20.0, 10)
    validate("b", 21.0, 10)
    validate("a", 30.0, 50)
    validate("b", 22.0, 50)
    with pytest.raises(TrainingPrunedError):
        validate("c", 1.0, 10)
    validate("c", 1.0, 20)  # told to go on by hand, it is not asked at that rung again
    validate("d", 22.0, 5)  # below the first


def test_rungs_that_cannot_be():
    for options in ({"rungs": [0.0]}, {"rungs": [1.5]}, {"reduction": 1}):
        with pytest.raises(ConfigError, match="callbacks.pruning"):
            SuccessiveHalving("a", **options)


def test_a_pruned_run_says_so(tiny_config, tmp_path):
    pruning = "+callbacks.pruning={_target_:pkdn_lightning.train.callbacks.SuccessiveHalving,rungs:[0.5],folder:null}"
    for number in range(2):
        write_json(tmp_path / f"better{number}" / "rungs.json", {"0.5": 99.0})
    cfg = tiny_config("objective=reconstruction", pruning)
    with pytest.raises(TrainingPrunedError):
        train(cfg)
    results = RunFolder(Path(cfg.run_dir)).read_results()
    assert (results["status"], results["steps"]) == ("pruned", 3)
    assert 5 < results["metrics"]["val/psnr_y"] < 40
