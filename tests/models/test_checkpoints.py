"""Weights in: what loads, and what is refused."""

import pickle

import pytest
import torch

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.models.checkpoints import CARD_KEY, load_model, load_network
from pkdn_lightning.networks.pkdn import PKDNStudent

CARD = {"scale": 8, "encoding": "colour", "degradation": "pil"}
SPEC = {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent", "width": 4, "rcabs_per_level": 1}


@pytest.fixture
def net():
    return PKDNStudent(width=4, rcabs_per_level=1)


def save(path, net, spec=SPEC, **more):
    state = {f"net.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state, CARD_KEY: {"network": dict(spec), **CARD}, **more}, path)
    return path


def test_what_is_saved_is_loaded(tmp_path, net):
    loaded = load_network(save(tmp_path / "a.ckpt", net))
    lr = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(loaded.net(lr).sr, net(lr).sr)
    assert len(loaded.sha256) == 64


def test_a_truncated_file(tmp_path, net):
    file = save(tmp_path / "a.ckpt", net)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"a\.ckpt .* truncated"):
        load_model(file)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="truncated"):
        load_model(file)


def test_a_checkpoint_of_another_network(tmp_path, net):
    wide = save(tmp_path / "a.ckpt", PKDNStudent(width=8, rcabs_per_level=1))
    with pytest.raises(CheckpointError, match=r"another network than PKDNStudent(?s:.*)head\.weight is \(8, 3, 3, 3\)"):
        load_model(wide)
    deep = save(tmp_path / "b.ckpt", net, SPEC | {"rcabs_per_level": 2})
    with pytest.raises(CheckpointError, match="missing encoder"):
        load_model(deep)


def test_a_foreign_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="neither of this package"):
        load_model(tmp_path / "a.ckpt")


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code was executed",))


@pytest.mark.parametrize("write", [lambda o, p: torch.save(o, p), lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_code_in_a_file_is_not_executed(tmp_path, write):
    write({"state_dict": Harmful()}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_model(tmp_path / "a.ckpt")


@pytest.mark.parametrize("target", ["os.system", "pkdn_lightning.networks.pkdn.Nothing", ""])
def test_only_networks_of_this_package_are_built(tmp_path, net, target):
    with pytest.raises(CheckpointError, match="network"):
        load_model(save(tmp_path / "a.ckpt", net, SPEC | {"_target_": target}))


def test_arguments_that_do_not_exist(tmp_path, net):
    with pytest.raises(CheckpointError, match="cannot build"):
        load_model(save(tmp_path / "a.ckpt", net, SPEC | {"depth": 3}))


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointError, match="No run folder and no checkpoint"):
        load_model(tmp_path / "none")
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_model(tmp_path)
