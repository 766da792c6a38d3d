"""Published files: recognised, rebuilt in their size, and loaded like a checkpoint of this package."""

import pytest
import torch

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.models.checkpoints import load_network, network_from_card
from pkdn_lightning.networks.published_weights import recognise
from tests.networks.published import STATES


@pytest.mark.parametrize("method", STATES)
def test_a_file_is_recognised_and_fits_its_network(method, tmp_path):
    found = recognise({"epoch": 3, "state_dict": STATES[method]()})
    assert found.network["_target_"].rpartition(".")[2] == method.split()[0]
    with torch.device("meta"):
        net = network_from_card(found.network, tmp_path)
    net.load_state_dict(found.weights, assign=True)  # strict


def test_a_published_file_loads_like_a_checkpoint(tmp_path):
    torch.manual_seed(0)
    torch.save(STATES["KDFSRNetStudent"](), tmp_path / "student.pth")
    loaded = load_network(tmp_path / "student.pth")
    assert loaded.card["experiment"] == "KDFSRNetStudent, published weights"
    assert loaded.card["scale"] == 8
    assert loaded.net(torch.rand(1, 3, 4, 4)).sr.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    "content", [{"conv.weight": torch.zeros(1)}, {"state_dict": {}}, {"sr": {}}, [1, 2], {"epoch": 1}]
)
def test_what_nobody_published_is_refused(content, tmp_path):
    assert recognise(content) is None
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="neither of this package"):
        load_network(tmp_path / "x.pth")
