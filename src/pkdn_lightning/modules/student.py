"""Training the student: it reads only the LR face and learns from a frozen teacher (PKDN, section 3.2; Eq. 2-5)."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from pkdn_lightning.data.batches import Batch
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.losses import Progress
from pkdn_lightning.modules.base import SRModule
from pkdn_lightning.networks.contract import SRNetwork, SROutput, require_output
from pkdn_lightning.networks.taps import Taps

_FACE_PX = 16  # side of the LR face with which the sizes of features are found


class FrozenTeacher:
    """A trained teacher, used for inference only.

    It is not an `nn.Module`, which keeps its weights out of the student's checkpoints, optimiser, weight averaging and
    gradient synchronisation.

    Args:
        net: The teacher network, with its trained weights.
        features: Layers whose outputs are further features, by name; see `networks.taps.Taps`.
    """

    def __init__(self, net: SRNetwork, features: Mapping[str, str] | None = None) -> None:
        self.net = net.eval().requires_grad_(False)
        self._taps = Taps(net, features or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # weight averaging copies the module; the frozen teacher is shared

    def to(self, device: torch.device) -> None:
        """Moves the teacher to a device."""
        self.net.to(device)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> SROutput:
        """Returns the teacher's output, without gradients; its face alone if the batch holds that."""
        if "teacher_sr" in batch:
            return SROutput(batch["teacher_sr"])
        inputs = self.net.inputs(batch)  # type: ignore[arg-type]  # a TypedDict of tensors
        return self._taps.add_to(require_output(self.net, self.net(*inputs), inputs[0]))


class StudentModule(SRModule):
    """Trains a network that reads only LR faces, with a frozen teacher if the objective needs one.

    Args:
        *args: See `SRModule`.
        teacher: The teacher, which is frozen; may be None if no term of the objective reads its output.
        features: Layers of the network whose outputs are further features, by name; see `networks.taps.Taps`.
        **kwargs: See `SRModule`.

    Raises:
        ConfigError: If the network reads parsing maps, or the objective needs a teacher and there is none.
        ShapeError: If the objective has adapters and the features of student and teacher cannot be compared.
    """

    def __init__(
        self,
        *args: Any,
        teacher: FrozenTeacher | SRNetwork | None = None,
        features: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.net.uses_parsing:
            raise ConfigError(
                f"module=student trains networks that read only the LR face; {type(self.net).__name__} reads parsing "
                "maps. Use module=teacher, or model=pkdn_student."
            )
        if self.objective.needs_teacher() and teacher is None:
            raise ConfigError("The objective needs a teacher, and none was given. Set teacher.checkpoint.")
        if isinstance(teacher, SRNetwork):
            teacher = FrozenTeacher(teacher)
        self.teacher = teacher if self.objective.needs_teacher() else None
        self._taps = Taps(self.net, features or {})
        self._compared = False
        if self.teacher is not None and self.objective.adapters:
            self._adapt(self.teacher)

    @property
    def role(self) -> str:
        """`student` with a teacher, else `plain`."""
        return "plain" if self.teacher is None else "student"

    @property
    def needs_parsing(self) -> bool:
        """Whether training needs parsing maps: the teacher reads them."""
        return self.teacher is not None and self.teacher.net.uses_parsing

    def networks(self) -> Iterator[SRNetwork]:
        """Yields the network and the teacher."""
        yield self.net
        if self.teacher is not None:
            yield self.teacher.net

    def restore(self, batch: Batch) -> SROutput:
        """Runs the network on a batch; its features include those of the named layers."""
        return self._taps.add_to(super().restore(batch))

    def teacher_output(self, batch: Batch) -> SROutput | None:
        """Returns the teacher's output; None without a teacher."""
        return None if self.teacher is None else self.teacher(batch)

    def loss(self, batch: Batch, output: SROutput, progress: Progress) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the total loss and its terms; before the first step, checks that student and teacher match.

        Raises:
            ShapeError: If their outputs cannot be compared.
        """
        if not self._compared:
            self.check_pair(batch, output)
        return super().loss(batch, output, progress)

    def check_pair(self, batch: Batch, output: SROutput) -> None:
        """Checks that the objective can compare the network's output of a batch with the teacher's.

        Raises:
            ShapeError: If it cannot.
        """
        if self.teacher is not None:
            self.objective.check(output, self.teacher(batch))  # of faces alone if no term reads features
        self._compared = True

    def on_fit_start(self) -> None:
        """Moves the teacher to the device."""
        if self.teacher is not None:
            self.teacher.to(self.device)

    def _adapt(self, teacher: FrozenTeacher) -> None:
        """Creates the objective's adapters, with the sizes that the features of one face have.

        They have to exist before the optimiser is made and a checkpoint is restored, so no batch can be awaited.
        """
        side, device = _FACE_PX * teacher.net.scale, next(self.net.parameters()).device
        face: Any = {
            "lr": torch.rand(1, 3, _FACE_PX, _FACE_PX, device=device),
            "parsing": torch.rand(1, teacher.net.parsing_channels, side, side, device=device),
        }
        training = self.net.training
        with torch.no_grad():
            teacher.to(device)
            student_output = self._taps.add_to(self.net.eval().forward(face["lr"]))
            self.objective.adapt(student_output, teacher(face))
        self.net.train(training)
