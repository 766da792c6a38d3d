"""Training the student: it reads only the LR face and learns from a frozen teacher (PKDN, section 3.2; Eq. 2-5)."""

from typing import Any, Self

import torch

from pkdn_lightning.data.datamodule import Batch
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.modules.base import SRModule
from pkdn_lightning.networks.contract import SRNetwork, SROutput


class FrozenTeacher:
    """A trained teacher, used for inference only.

    It is not an `nn.Module`, which keeps its weights out of the student's checkpoints, optimiser, weight averaging and
    gradient synchronisation.

    Args:
        net: The teacher network, with its trained weights.
    """

    def __init__(self, net: SRNetwork) -> None:
        self.net = net.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # weight averaging copies the module; the frozen teacher is shared

    def to(self, device: torch.device) -> None:
        """Moves the teacher to a device."""
        self.net.to(device)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> SROutput:
        """Returns the teacher's output, without gradients."""
        output: SROutput = self.net(*self.net.inputs(batch))  # type: ignore[arg-type]  # a TypedDict of tensors
        return output


class StudentModule(SRModule):
    """Trains a network that reads only LR faces, with a frozen teacher if the objective needs one.

    Args:
        *args: See `SRModule`.
        teacher: The frozen teacher; may be None if no term of the objective reads its output.
        **kwargs: See `SRModule`.

    Raises:
        ConfigError: If the network reads parsing maps, or the objective needs a teacher and there is none.
    """

    def __init__(self, *args: Any, teacher: FrozenTeacher | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.net.uses_parsing:
            raise ConfigError(
                f"module=student trains networks that read only the LR face; {type(self.net).__name__} reads parsing "
                "maps. Use module=teacher, or model=pkdn_student."
            )
        if self.objective.needs_teacher() and teacher is None:
            raise ConfigError("The objective needs a teacher, and none was given. Set teacher.checkpoint.")
        self.teacher = teacher if self.objective.needs_teacher() else None

    @property
    def role(self) -> str:
        """`student` with a teacher, else `plain`."""
        return "plain" if self.teacher is None else "student"

    @property
    def needs_parsing(self) -> bool:
        """Whether training needs parsing maps: the teacher reads them."""
        return self.teacher is not None

    def teacher_output(self, batch: Batch) -> SROutput | None:
        """Returns the teacher's output; None without a teacher."""
        return None if self.teacher is None else self.teacher(batch)

    def on_fit_start(self) -> None:
        """Moves the teacher to the device and checks that its outputs match the student's."""
        if self.teacher is None:
            return
        self.teacher.to(self.device)
        batch = self.trainer.datamodule.preview("train", 1)  # type: ignore[attr-defined]  # set by `trainer.fit`
        moved: Any = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with torch.no_grad():
            self.objective.check(self.restore(moved), self.teacher(moved))
