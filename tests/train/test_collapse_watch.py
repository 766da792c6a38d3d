"""A network that fell to bicubic interpolation or diverged is named; one that learns, or has just begun, is not."""

from types import SimpleNamespace

import pytest
import torch

from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.modules import StudentModule
from pkdn_lightning.networks.contract import SRNetwork, SROutput
from pkdn_lightning.train.callbacks import CollapseWatch
from tests.conftest import real_face


class Stage(SRNetwork):
    """Between bicubic interpolation (0) and the true face (1), or away from both."""

    scale = 4

    def __init__(self):
        super().__init__()
        self.tail = torch.nn.Conv2d(3, 3, 1)
        self.tail.weight.grad = torch.full_like(self.tail.weight, 1e-9)
        self.hr, self.at = torch.empty(0), 0.0

    def forward(self, lr):
        assert not self.training
        start = enlarge(lr, self.scale)
        return SROutput(start + self.at * (self.hr[: len(lr)] - start))


FELL, DIVERGED = "restores as bicubic interpolation does", "has diverged; its error is "


@pytest.mark.parametrize(
    ("course", "told"),
    [
        ([0.1, 0.3, 0.02, 0.01, 0.0], {4: FELL}),  # learnt, then fell
        ([0.1, -4.0, 0.5, 0.01, 0.02], {5: FELL}),  # diverged for a moment, then fell
        ([0.1, -4.0, -50.0, -60.0, 0.02, 0.01], {3: DIVERGED, 6: FELL}),
        ([-9.0, -12.0, -8.0, 0.3, 0.4], {}),  # untrained
        ([-9.0, -1e9, -1e9, -1e9], {3: DIVERGED}),
        ([0.25, 0.05, 0.03, 0.02, 0.1, 0.3], {}),  # a start from bicubic interpolation
        ([0.1, 0.3, 0.02, 0.3, 0.02], {}),  # a single batch
        ([0.02] * 43, {41: FELL}),  # never left it
    ],
    ids=["learnt", "diverged and fell", "diverged", "untrained", "diverged early", "a start", "once", "never left"],
)
def test_what_is_told(course, told, capsys):
    for number, shown in enumerate(_followed(course, capsys)[:-1], start=1):
        assert told.get(number, "") in shown
        assert bool(shown) == (number in told), (number, shown)


@pytest.mark.parametrize(
    ("course", "told"),
    [
        ([-9.0, -0.5], "error is 1.5 times that of bicubic"),
        ([-9.0, 0.02], ""),
        ([], ""),
        ([0.1, -4.0, -50.0, -60.0], ""),
    ],
    ids=["worse", "better", "no step", "diverged, which was told"],
)
def test_a_network_that_ends_worse_than_bicubic_interpolation(course, told, capsys):
    shown = _followed(course, capsys)[-1]
    assert told in shown
    assert bool(shown) == bool(told), shown


def _followed(course, capsys):
    """Returns what is shown at each of a course's steps, and at its end."""
    net, watch = Stage(), CollapseWatch()
    module = StudentModule(net)
    hr = torch.stack([torch.from_numpy(real_face(row, 32).hr).permute(2, 0, 1) for row in range(3)])
    net.hr = hr / 255
    batch, shown = {"lr": degrade(hr, 4), "hr": net.hr}, []
    for number, net.at in enumerate(course, start=1):
        state = {"global_step": 50 * number, "log_every_n_steps": 25, "is_global_zero": True}
        trainer = SimpleNamespace(**state, gradient_clip_val=None)
        watch.on_train_batch_end(trainer, module, None, batch, 0)
        assert net.training
        shown.append(capsys.readouterr().out)
    watch.on_train_end(SimpleNamespace(is_global_zero=True), module)
    return [*shown, capsys.readouterr().out]
