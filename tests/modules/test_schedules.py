"""Learning rates over a training, against the published recipes."""

import pytest
import torch

from pkdn_lightning.modules.schedules import GentleStartThenDecay, OneCycle


def rates(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, total_steps=steps)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_a_gentle_start_and_a_factor_after_each_epoch():
    found = rates(lambda optimizer, total_steps: GentleStartThenDecay(optimizer, total_steps, epochs=2, gamma=0.5), 80)
    assert [found[step] for step in (0, 9, 10, 29, 30, 39, 40, 79, 80)] == pytest.approx(
        [1 / 50, 1 / 50, 1 / 5, 1 / 5, 1, 1, 0.5, 0.5, 0.25]
    )


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 10, 11, 20, 100])
def test_one_cycle_of_any_length(steps):
    def make(schedule):
        options = {"max_lr": 1.0, "pct_start": 0.1, "div_factor": 10.0, "cycle_momentum": False}
        return rates(lambda optimizer, total_steps: schedule(optimizer, total_steps=steps, **options), steps - 1)

    found = make(OneCycle)
    assert all(0 < rate <= 1 for rate in found)
    if steps <= 10:  # torch's own divides by zero at 10
        assert found == sorted(found, reverse=True)
    else:
        assert found == make(torch.optim.lr_scheduler.OneCycleLR)
