"""Trainings on the device: precisions, waits, compilation, resuming, and two processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch

from pkdn_lightning.errors import PKDNError
from pkdn_lightning.hardware import choose_precision
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train import train, training_run
from pkdn_lightning.train.resume import saved_config
from tests.gpu.conftest import DEVICE, PKDN, SMALL
from tests.train.conftest import stop_at

pytestmark = pytest.mark.gpu

SCALED = "16-mixed" if DEVICE == "cuda" else "bf16-mixed"  # a CPU has no gradient scaler
PLAIN = "objective=reconstruction"
TRAININGS = {
    "student, auto, resident": ("student", "trainer.precision=auto", "data.resident=true"),
    "student, float32, channels last": ("student", "module.channels_last=true"),
    "student, averaged": ("student", PLAIN, "ema=standard"),
    **{f"{name}, scaled": (name, f"trainer.precision={SCALED}") for name in ("student", "urdgn", "dicgan", "fsrgan")},
}
WITHOUT_WAITS = {
    "student": ("student",),
    "student, resident": ("student", "data.resident=true"),
    "teacher": ("teacher",),
    "heatmaps": ("dic",),
    "adversarial": ("urdgn",),
}


def weights(run: RunFolder) -> torch.Tensor:
    """Returns all weights of a run's last checkpoint, one after the other."""
    return torch.cat([each.flatten().cpu().double() for each in read_checkpoint(run.last)["state_dict"].values()])


def difference(run: RunFolder, other: RunFolder) -> float:
    """Returns the relative difference of weights; Adam's first steps turn rounding near 0 into whole steps."""
    return float((weights(run) - weights(other)).norm() / weights(other).norm())


def test_auto_takes_bfloat16_where_there_is_some(device):
    ampere = device.type == "cuda" and (torch.version.hip or torch.cuda.get_device_capability() >= (8, 0))
    assert choose_precision("auto", DEVICE) == ("bf16-mixed" if ampere else "32-true")


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_ends_with_finite_weights(name, small):
    result = train(small(*TRAININGS[name]))
    assert result.run.finished
    assert torch.isfinite(weights(result.run)).all()
    assert 3 < result.metrics["test/faces/psnr_y"] < 40
    if "16-mixed" in TRAININGS[name][-1] and "bf16" not in TRAININGS[name][-1]:
        assert read_checkpoint(result.run.last)["MixedPrecision"]["scale"] >= 1


class NoWaits(lightning.Callback):
    """Makes every wait for the device an error, from the third step on."""

    FIRST, LAST = 2, 5

    def __init__(self, device):
        self.device, self.seen = device, 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.seen += self.FIRST <= batch_idx < self.LAST
        if self.device.type == "cuda" and batch_idx in (self.FIRST, self.LAST):
            torch.cuda.set_sync_debug_mode("error" if batch_idx == self.FIRST else "default")


@pytest.mark.parametrize("name", WITHOUT_WAITS)
def test_no_step_waits_between_logging_steps(name, small, device, monkeypatch):
    build, watch = training_run.build_trainer, NoWaits(device)

    def build_watched(*parts):
        trainer = build(*parts)
        trainer.callbacks.insert(0, watch)
        return trainer

    monkeypatch.setattr(training_run, "build_trainer", build_watched)
    precision = "bf16-mixed" if choose_precision("auto", DEVICE) == "bf16-mixed" else "32-true"
    rare = ("data.batch_size=2", "trainer.log_every_n_steps=50", "trainer.val_check_interval=100", "test=false")
    try:
        train(small(*WITHOUT_WAITS[name], f"trainer.precision={precision}", *rare))
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert watch.seen == NoWaits.LAST - NoWaits.FIRST


@pytest.fixture
def graphs(device, monkeypatch):
    """Counts what dynamo compiles; on a CPU without a compiler."""
    from torch._dynamo.utils import counters  # takes a second

    torch._dynamo.reset()
    counters.clear()
    if device.type == "cpu":
        in_place = torch.nn.Module.compile
        monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: in_place(self, backend="aot_eager"))
    yield counters
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", ["true", "graphs"])
def test_a_compiled_training_ends_where_an_eager_one_does(kind, small, graphs, device):
    """Each block is one graph of dynamo; captured by CUDA, none is skipped."""
    try:
        compiled = train(small("student", PLAIN, f"module.compile={kind}"))
    except PKDNError as error:
        if kind == "graphs" and "module.compile" in str(error):
            pytest.skip("module.compile=graphs is not known here")
        raise
    found = {name: dict(each) for name, each in graphs.items()}
    if kind == "graphs":
        assert not found.get("inductor", {}).get("cudagraph_skips")
        if device.type == "cuda":
            from torch._inductor.cudagraph_trees import get_container

            recorded = get_container(torch.cuda.current_device()).tree_manager
            assert recorded is not None
            assert recorded.new_graph_id().id > 0
    else:
        assert found["frames"]["ok"] == found["frames"]["total"] == found["stats"]["unique_graphs"] > 0
    eager = train(small("student", PLAIN, run="eager"))
    assert difference(compiled.run, eager.run) < (5e-3 if device.type == "cuda" else 1e-5)


@pytest.mark.parametrize(
    "options", [("trainer.precision=32-true",), ("trainer.precision=bf16-mixed", "data.resident=true")]
)
def test_stopped_and_resumed_equals_uninterrupted(options, small, device, monkeypatch):
    """Bit for bit on a CPU; on a GPU within the noise of kernels whose sums have no fixed order."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    options = (PLAIN, "recipe=fast", "tuned=false", "data.batch_size=4", "trainer.deterministic=warn", *options)
    try:
        whole = train(small("student", *options)).run
        with monkeypatch.context() as patch:
            stop_at(patch, 4)
            with pytest.raises(PKDNError, match="Stopped after step 4"):
                train(small("student", *options, run="stopped"))
        stopped = Path(small("student", run="stopped").run_dir)
        resumed = train(saved_config(str(stopped), [])).run
    finally:
        torch.use_deterministic_algorithms(False)
    assert difference(resumed, whole) <= (1e-5 if device.type == "cuda" else 0)


GLOO = """
import sys
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from pkdn_lightning.config import compose
from pkdn_lightning.train import train
StrategyRegistry.register("ddp_gloo", DDPStrategy, process_group_backend="gloo")
train(compose("train", sys.argv[1:]))
"""


def test_two_processes_on_one_device_train_one_model(small, faces, tmp_path, accelerator, device):
    """As two hosts with a device each, which here is the same; NCCL wants two."""
    options = (PLAIN, "data.flip_probability=0", "trainer.val_check_interval=100", "test=false")
    alone = train(small("student", *options, "data.batch_size=4")).run
    places = [f"data.store={faces.path}", f"run_dir={tmp_path / 'two'}", f"paths.runs={tmp_path / 'runs'}"]
    two = [
        "trainer.num_nodes=2",
        "trainer.strategy=ddp_gloo",
        f"trainer.accelerator={accelerator}",
        "data.batch_size=2",
    ]
    overrides = ["experiment=student", *SMALL, *PKDN["student"], *options, *places, *two]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    elastic = {
        "TORCHELASTIC_RUN_ID": "two", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
        "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GLOO, *overrides],
            env={**os.environ, **elastic, "RANK": rank, "GROUP_RANK": rank},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    try:
        logs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(log[-1500:] for log in logs)
    assert difference(RunFolder(tmp_path / "two"), alone) < (1e-3 if device.type == "cuda" else 1e-4)
