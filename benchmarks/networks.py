"""The step that benchmarks time: full-size PKDN teacher and student distilling, plain or as the suite runs it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pkdn_lightning.losses import FeatureDistillation, Objective, Progress, Reconstruction, TeacherImage, Weight
from pkdn_lightning.modules import FrozenTeacher
from pkdn_lightning.networks.blocks import recompute_blocks
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher


@dataclass(frozen=True)
class Settings:
    """How a step is run; the defaults are PyTorch's own.

    Attributes:
        batch: Faces.
        device: Where.
        mixed: bfloat16 autocast.
        channels_last: Layout of both networks.
        fused: Adam in one kernel.
        compiled: Both networks compiled.
        recompute: Keeps only the inputs of blocks for the backward pass.
        width: Of both networks; smaller ones try a benchmark out.
        parallel: Synchronises gradients with the other processes.
    """

    batch: int = 8
    device: str = "cpu"
    mixed: bool = False
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False
    recompute: bool = False
    width: int = 64
    parallel: bool = False


def step(settings: Settings) -> Callable[[], Tensor]:
    """Returns one distillation step (teacher forward, student forward and backward, Adam) on random faces."""
    torch.manual_seed(0)
    device = torch.device(settings.device)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    teacher, student = (
        net.to(device=device, memory_format=layout)
        for net in (PKDNTeacher(width=settings.width), PKDNStudent(width=settings.width))
    )
    if settings.recompute:
        recompute_blocks(student)
    if settings.compiled:
        teacher.compile()
        student.compile()
    guide = FrozenTeacher(teacher)
    trained: nn.Module = nn.parallel.DistributedDataParallel(student) if settings.parallel else student
    objective = Objective(
        {
            "sr": (Weight(1.0), Reconstruction()),
            "ts": (Weight(0.1), TeacherImage()),
            "fs": (Weight(10.0), FeatureDistillation()),
        }
    )
    adam = torch.optim.Adam(student.parameters(), 1e-4, betas=(0.9, 0.99), fused=settings.fused or None)
    batch = {
        "lr": torch.rand(settings.batch, 3, 16, 16, device=device),
        "hr": torch.rand(settings.batch, 3, 128, 128, device=device).to(memory_format=torch.channels_last),
        "parsing": torch.rand(settings.batch, 3, 128, 128, device=device),
    }

    def once() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.mixed):
            told = guide(batch)  # type: ignore[arg-type]  # no rows are needed
            loss, _ = objective(trained(batch["lr"]), batch["hr"], told, Progress(step=0, epoch=0), batch)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.detach()

    return once
