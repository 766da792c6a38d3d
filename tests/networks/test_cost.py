"""What networks cost, as a whole and by block."""

import pytest
import torch

from pkdn_lightning.networks.cost import count_macs, count_parameters, measure_blocks
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher
from pkdn_lightning.networks.urdgn import URDGN


@pytest.mark.parametrize(
    "net",
    [
        PKDNStudent(scale=4, width=8, levels=2, rcabs_per_level=1),
        PKDNTeacher(scale=4, width=8, levels=2),
        URDGN(scale=4, widths=(8, 8, 8)),
    ],
    ids=lambda net: type(net).__name__,
)
def test_blocks_add_up_to_the_whole(net):
    inputs = [torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)][: 2 if net.uses_parsing else 1]
    whole, *blocks = measure_blocks(net.eval(), *inputs, rounds=1)
    assert sum(block.params for block in blocks) == whole.params == count_parameters(net)
    assert whole.macs == count_macs(net, *inputs)
    assert 0.95 * whole.macs <= sum(block.macs for block in blocks) <= whole.macs  # bicubic is between the blocks
    assert 0.5 * whole.kept_bytes < sum(block.kept_bytes for block in blocks) <= whole.kept_bytes
    assert all(block.seconds > 0 for block in (whole, *blocks))


def test_what_is_kept_is_counted_once_and_weights_are_not():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.ReLU())
    whole, conv, relu = measure_blocks(net, torch.rand(1, 3, 16, 16), rounds=1)
    assert conv.kept_bytes == 4 * 3 * 256  # its input
    assert relu.kept_bytes == 4 * 8 * 256  # its result
    assert whole.kept_bytes == conv.kept_bytes + relu.kept_bytes
