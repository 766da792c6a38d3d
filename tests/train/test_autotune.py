"""What a tuned run chooses: only what was left open, and it says so in one line."""

import pytest

from pkdn_lightning.config import compose
from pkdn_lightning.train import autotune as tuning
from pkdn_lightning.train.autotune import tune


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that pretends a machine: the gain of bfloat16 on its CPU, and whether it has a GPU."""

    def pretend(gain=0.5, *, gpu=False):
        monkeypatch.setattr(tuning, "bfloat16_gain", lambda: gain)
        monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: gpu)
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)

    return pretend


def choices(*overrides):
    cfg = compose("train", ["experiment=student_celeba", *overrides])
    line = tune(cfg)
    module, trainer = cfg.module, cfg.trainer
    chosen = (trainer.precision, module.channels_last, module.compile, cfg.optimizer.get("fused"), trainer.benchmark)
    return chosen, line


def test_the_paper_stays_as_it_is(machine):
    machine(2.0)
    assert choices() == (("32-true", False, False, None, None), None)


def test_a_cpu_that_gains_by_bfloat16(machine):
    machine(2.0)
    chosen, line = choices("recipe=fast")
    assert chosen == ("bf16-mixed", True, False, True, None)
    assert "trainer.precision=bf16-mixed (here bfloat16 takes 0.5 times as long as float32)" in line
    assert "\n" not in line


def test_a_cpu_that_loses_by_it(machine):
    machine(0.6)
    chosen, line = choices("recipe=fast")
    assert chosen == ("32-true", True, False, True, None)
    assert "trainer.precision=32-true (here bfloat16 takes 1.7 times as long as float32)" in line


def test_a_gpu(machine):
    machine(gpu=True)
    assert choices("recipe=fast")[0] == ("bf16-mixed", True, None, True, True)  # compilation: test_gpu_load
    assert choices("recipe=fast", "trainer.max_steps=100")[0][2] is False  # too short to win the compilation back
    assert choices("recipe=fast", "trainer=cpu")[0] == ("32-true", True, False, True, None)


def test_what_is_said_wins(machine):
    machine(2.0)
    said = ["trainer.precision=16-mixed", "module.channels_last=false", "module.compile=true", "+optimizer.fused=false"]
    assert choices("recipe=fast", *said) == (("16-mixed", False, True, False, None), None)


def test_an_optimizer_that_is_not_adam_is_left_alone(machine):
    machine(2.0)
    assert choices("recipe=fast", "optimizer._target_=torch.optim.RAdam")[0][3] is None
