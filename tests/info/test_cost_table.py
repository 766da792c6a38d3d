"""The verb `info`: networks of the tree and of runs, by block."""

import pytest

from pkdn_lightning.config import compose
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.info import info

SMALL = ("model.width=8", "model.levels=2", "data.scale=4", "size_px=32", "rounds=1", "accelerator=cpu")


@pytest.mark.parametrize("model", ["pkdn_teacher", "pkdn_student"])
def test_an_untrained_network(model, capsys):
    (cost,) = info(compose("info", [f"model={model}", *SMALL]))
    printed = capsys.readouterr().out
    assert cost.blocks[0].macs > 0
    assert all(block.name in printed for block in cost.blocks)
    assert f"{cost.blocks[0].params:,}" in printed


def test_runs_by_name(trained_student):
    run = trained_student.run
    (cost,) = info(compose("info", [f"models.mine={run.path}", "size_px=32", "rounds=1", "accelerator=cpu"]))
    assert (cost.name, cost.blocks[0].params) == ("mine", run.read_results()["params"])


def test_no_face():
    with pytest.raises(ConfigError, match="faces=0"):
        info(compose("info", ["faces=0", *SMALL]))
