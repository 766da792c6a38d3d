"""Clipped gradients of a fused optimiser, which Lightning refuses in mixed precision, give the unfused one's update."""

from functools import partial

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from pkdn_lightning.modules import StudentModule
from pkdn_lightning.networks.pkdn import PKDNStudent

CLIPPED = {"gradient_clip_val": 1e-3}  # the gradients are larger: each update depends on it, by Adam's eps


def weights(precision, *, fused, **trainer):
    torch.manual_seed(0)
    faces = [{"lr": torch.rand(3, 8, 8), "hr": torch.rand(3, 32, 32)} for _ in range(4)]
    adam = partial(torch.optim.Adam, lr=1e-3, eps=1e-3, fused=fused)
    module = StudentModule(PKDNStudent(scale=4, width=4, levels=2, rcabs_per_level=1), make_optimizer=adam)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, precision=precision, max_steps=3, enable_model_summary=False, **quiet, **trainer
    )
    trainer.fit(module, DataLoader(faces, batch_size=2))
    assert trainer.global_step == 3
    return torch.nn.utils.parameters_to_vector(module.net.parameters()).detach()


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on loaders
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_fused_adam_clips_as_adam_does(precision):
    expected = weights(precision, fused=False, **CLIPPED)
    clipped = weights(precision, fused=True, **CLIPPED)
    torch.testing.assert_close(clipped, expected, atol=1e-6, rtol=1e-4)
    assert (weights(precision, fused=True) - expected).abs().max() > 1e-4
