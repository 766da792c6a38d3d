"""A device that runs out of memory or is lost in the middle of a training: what is said, and what is left."""

import pytest
import torch

from pkdn_lightning.errors import ConfigError, DeviceError, TrainingError
from pkdn_lightning.models.checkpoints import read_checkpoint
from pkdn_lightning.modules import SRModule
from pkdn_lightning.runs import RunFolder, RunStatus
from pkdn_lightning.train import train
from pkdn_lightning.train.resume import saved_config

PLAIN = ("objective=reconstruction", "data.flip_probability=0.5")
LOST = getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: unspecified launch failure\nCompile with ...")
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee ...")


def fail_at(patch, step, error):
    original = SRModule.training_step

    def training_step(self, batch, batch_idx):
        if self.global_step == step:
            raise error
        return original(self, batch, batch_idx)

    patch.setattr(SRModule, "training_step", training_step)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (FULL, TrainingError, "add: data.batch_size=2 trainer.accumulate_grad_batches=2"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), TrainingError, "add: data.batch_size=2 trainer."),
        (LOST, DeviceError, "The GPU failed: CUDA error: unspecified launch failure"),
        (RuntimeError("CUDA driver error: uncorrectable ECC error"), DeviceError, "The GPU failed: CUDA driver error"),
    ],
)
def test_a_training_goes_on_from_its_last_checkpoint(error, kind, said, tiny_config, monkeypatch, tmp_path):
    run = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        fail_at(patch, 5, error)
        with pytest.raises(kind) as caught:
            train(tiny_config(*PLAIN))
    message = str(caught.value)
    assert said in message
    assert f"last.ckpt of step 3 is kept. Resume with: pkdn train resume={run.path}" in message
    assert len(message.splitlines()) <= 4
    assert read_checkpoint(run.last)["global_step"] == 3
    assert run.read_results()["status"] == RunStatus.FAILED
    if error is FULL:
        smaller = ["data.batch_size=2", "trainer.accumulate_grad_batches=2"]
        assert train(saved_config(str(run.path), smaller)).run.finished


def test_before_the_first_checkpoint(tiny_config, monkeypatch):
    fail_at(monkeypatch, 0, FULL)
    with pytest.raises(TrainingError, match=r"start the run again.\n.*module.recompute=true"):
        train(tiny_config(*PLAIN, "data.batch_size=3"))


def test_a_gpu_that_is_not_there(tiny_config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"trainer.accelerator=gpu, but .* Set trainer.accelerator=cpu or auto"):
        train(tiny_config(*PLAIN, "trainer=gpu"))
