"""Averaged weights equal those of torch's own average; tests/train/test_fake_cuda.py sees that no update waits."""

import copy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from pkdn_lightning.train.callbacks.weight_ema import _Average


@pytest.mark.parametrize("use_buffers", [False, True])
def test_the_average_is_that_of_torch_also_after_it_was_restored(use_buffers):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    expected = AveragedModel(net, avg_fn=get_ema_avg_fn(0.9), use_buffers=use_buffers)
    average = _Average(net, torch.device("cpu"), 0.9, use_buffers=use_buffers)
    for step in range(4):
        for each in net.parameters():
            torch.nn.init.normal_(each)
        net(torch.rand(2, 3, 8, 8))
        expected.update_parameters(net)
        if step == 2:
            state = copy.deepcopy(average.state_dict())
            average = _Average(net, torch.device("cpu"), 0.9, use_buffers=use_buffers)
            average.load_state_dict(state)
        average.update_parameters(net)
    torch.testing.assert_close(dict(average.state_dict()), dict(expected.state_dict()))
