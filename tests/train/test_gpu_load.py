"""What a tuned training on a GPU makes of the measured speed of two batch sizes; and the measurement, on a CPU."""

import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.train import build, gpu_load
from pkdn_lightning.train.gpu_load import fit_to_gpu, measured_rates
from tests.fake_cuda import DEVICE, cuda_device, recorded

SMALL = ("model.width=8", "model.levels=2", "model.rcabs_per_level=1", "data.scale=4", "objective=reconstruction")


@pytest.fixture
def parts(store):
    """Returns a function that makes a configuration, and the module and data of it."""

    def make(*overrides, experiment="student_celeba"):
        given = ["recipe=fast", f"data.store={store.path}", "trainer.precision=bf16-mixed", *SMALL, *overrides]
        cfg = compose("train", [f"experiment={experiment}", *given])
        data = build.build_datamodule(cfg.data, seed=0, require_parsing=False)
        return cfg, build.build_module(cfg, build_network(cfg.model), None, {}), data

    return make


@pytest.fixture
def gpu(monkeypatch):
    """Pretends a GPU that compiles, with as much free memory as the returned function says."""
    monkeypatch.setattr(gpu_load, "why_not_compiled", lambda: None)
    monkeypatch.setattr(gpu_load, "on_gpu", lambda accelerator: accelerator != "cpu")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (10**9, 2 * 10**9))
    return lambda free: monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (free, 2 * free))


@pytest.mark.parametrize(
    ("overrides", "rates", "compiled", "said"),
    [
        ((), (220.0, 1000.0), "graphs", "data.batch_size=16 reaches 22 % of the faces a second of 64"),
        ((), (600.0, 1000.0), True, ""),
        ((), None, True, ""),  # the larger batch does not fit
        (("trainer.accumulate_grad_batches=2",), (220.0, 1000.0), True, "22 %"),
        (("module.compile=false",), (220.0, 1000.0), False, "22 %"),
        (("trainer.strategy=ddp_fork",), (220.0, 1000.0), True, ""),  # not measured
    ],
)
def test_small_batches_get_graphs_and_advice(overrides, rates, compiled, said, parts, gpu):
    cfg, module, data = parts(*overrides)
    line = fit_to_gpu(cfg, module, data, lambda *_: rates)
    assert (cfg.module.compile, cfg.data.batch_size) == (compiled, 16)
    assert not compiled or f"Chosen: module.compile={str(compiled).lower()}" in line
    assert said in line
    assert ("data.batch_size=64 optimizer.lr=0.002 trainer.max_steps=5000" in line) == bool(said)


def test_nothing_is_compiled_where_it_would_fail(parts, gpu, monkeypatch):
    monkeypatch.setattr(gpu_load, "why_not_compiled", lambda: "Triton is not installed")
    cfg, module, data = parts()
    assert "Chosen: module.compile=false (Triton is not installed)." in fit_to_gpu(cfg, module, data, lambda *_: (1, 9))
    assert cfg.module.compile is False
    cfg, module, data = parts("module.compile=true")  # set values stay
    assert "module.compile" not in fit_to_gpu(cfg, module, data, lambda *_: (1, 1))
    assert cfg.module.compile is True


def test_faces_are_kept_on_the_gpu_where_they_fit_easily(parts, gpu):
    for free, kept in ((10**9, True), (10**4, False)):
        cfg, module, data = parts()
        gpu(free)
        line = fit_to_gpu(cfg, module, data, lambda *_: None)
        assert cfg.data.resident is data.resident is kept
        assert f"data.resident={str(kept).lower()} (0.0 GB" in line
    cfg, module, data = parts("data.resident=false", "module.compile=false")
    assert (fit_to_gpu(cfg, module, data, lambda *_: None), data.resident) == ("", False)


def test_nothing_is_measured_elsewhere(parts, gpu):
    for overrides in (("trainer=cpu",), ("tuned=false",)):
        cfg, module, data = parts(*overrides)
        assert fit_to_gpu(cfg, module, data, None) == ""


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_measurement_changes_nothing(precision, parts, monkeypatch):
    _, module, data = parts()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    clock = iter([0, 90, 0, 5, 0, 4, 0, 90, 0, 8, 0, 8])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    rates = measured_rates(module, data.preview("train", 1), (2, 8), precision, torch.device("cpu"))
    assert rates == (2 / 4, 8 / 8)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(weight.grad is None for weight in module.parameters())
    monkeypatch.setattr("torch.nn.Conv2d.forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    monkeypatch.setattr("time.perf_counter", lambda: 0)
    assert measured_rates(module, data.preview("train", 1), (2, 8), precision, torch.device("cpu")) is None


def test_the_measurement_runs_on_a_gpu(parts, monkeypatch):
    with cuda_device(monkeypatch):
        _, module, data = parts("module.channels_last=true")
        face = data.preview("train", 1)
        with recorded() as recorder:
            assert measured_rates(module, face, (2, 8), "bf16-mixed", DEVICE)
    assert recorder.kernels > 1000
    assert not recorder.mixed
    assert {weight.device.type for weight in module.parameters()} == {"cpu"}
