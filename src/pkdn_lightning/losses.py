"""The losses: named terms, each with a weight that may change while training.

A term compares what the network made with the truth (`Reconstruction`), with what the frozen teacher made
(`TeacherImage`, `FeatureDistillation`), or what it estimated along the way with a prior of the true face
(`PriorEstimate`). `Objective` adds the weighted terms up. A term whose weight is 0 at a moment is not computed at that
moment, and when no term asks for the teacher, the teacher does not run. PKDN's are Eq. 1-5; the compared methods' name
their paper.
"""

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, DataError, ShapeError
from pkdn_lightning.networks import lightcnn, vgg
from pkdn_lightning.networks.contract import SROutput


class Progress(NamedTuple):
    """How far the training is: the clock that schedules read.

    Attributes:
        step: Optimiser steps taken so far.
        epoch: Whole passes over the training split so far.
    """

    step: int
    epoch: int


class Weight(NamedTuple):
    """A term's weight λ over time.

    Attributes:
        value: λ at the start.
        schedule: `constant`; `linear` decay from `value` to 0 over `duration` units, then off (KDFSRNet's λ_FS); `hold`
            keeps `value` up to and with unit `duration`, then off (KDFSRNet's λ_TS).
        duration: Length in `unit`s of `linear` and `hold`; without meaning for `constant`.
        unit: `epoch` changes once per pass over the data, as KDFSRNet does; `step` with every optimiser step.
        start: Units before which the weight is 0; `duration` counts from there.
    """

    value: float
    schedule: Literal["constant", "linear", "hold"] = "constant"
    duration: float | None = None
    unit: Literal["epoch", "step"] = "epoch"
    start: float = 0

    def at(self, progress: Progress) -> float:
        """Returns λ at `progress`.

        Example:
            >>> [Weight(10, "linear", duration=10).at(Progress(step=0, epoch=e)) for e in (0, 1, 10, 11)]
            [10.0, 9.0, 0.0, 0.0]
        """
        elapsed = (progress.epoch if self.unit == "epoch" else progress.step) - self.start
        if elapsed < 0:
            return 0.0
        if self.schedule == "constant" or self.duration is None:
            return float(self.value)
        if self.schedule == "hold":
            return float(self.value) if elapsed <= self.duration else 0.0
        return self.value * max(0.0, self.duration - elapsed) / self.duration

    def check(self, name: str) -> None:
        """Checks that the parts fit together.

        Raises:
            ConfigError: If λ is negative or not finite, or a schedule lacks its length.
        """
        if not math.isfinite(self.value) or self.value < 0:
            raise ConfigError(f"objective.{name}.weight={self.value}: a weight is a finite number, 0 or more.")
        if self.schedule != "constant" and not (self.duration and self.duration > 0):
            raise ConfigError(
                f"objective.{name}.schedule={self.schedule} needs its length. Set objective.{name}.duration to a "
                f"number of {self.unit}s above 0, or objective.{name}.schedule=constant."
            )


Distance = Literal["l1", "l2"]
_DISTANCES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"l1": F.l1_loss, "l2": F.mse_loss}


class LossTerm(nn.Module):
    """A term of an objective; every term derives from it.

    `forward(output, hr, teacher_output, **priors)` takes what the trained network made, the truth (B, 3, H, W) in
    [0, 1], what the teacher made (None where no term needs one), and the priors that it lists; it returns a scalar.

    Attributes:
        needs_teacher: Whether the term reads the teacher's output.
        priors: Keys of the batch that the term is given by name: `parsing`, `heatmaps`.
    """

    needs_teacher: ClassVar[bool] = False
    priors: tuple[str, ...] = ()

    def check(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Checks before the first step that the features of student and teacher fit; a term may have nothing to check.

        Raises:
            ShapeError: If they do not.
        """


class Reconstruction(LossTerm):
    """Mean difference of the restored face and the truth: L_T (Eq. 1) and L_SR (Eq. 3).

    Args:
        distance: `l1` is absolute; `l2` squared (URDGN, FSRNet).
    """

    def __init__(self, distance: Distance = "l1") -> None:
        super().__init__()
        self.distance = _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        return self.distance(output.sr, hr)


class Intermediate(LossTerm):
    """Difference of the faces that a network made on its way and the truth, summed over them.

    DIC's earlier steps, FSRNet's coarse face, SFMNet's face of the frequency branch.

    Args:
        name: Beginning of their names among the network's extras, as in `sr` for `sr1`, `sr2`, `sr3`.
        distance: `l1` or `l2`.
    """

    def __init__(self, name: str, distance: Distance = "l1") -> None:
        super().__init__()
        self.name, self.distance = name, _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        return torch.stack([self.distance(face, hr) for face in _extras(output, self.name)]).sum()


class Spectrum(LossTerm):
    """Differences of amplitude and of phase of a face's Fourier transform and the truth's, added (SFMNet).

    Args:
        name: The face among the network's extras.
    """

    def __init__(self, name: str = "frequency") -> None:
        super().__init__()
        self.name = name

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        made, true = (torch.fft.rfft2(face.float()) for face in (_extras(output, self.name)[0], hr))
        return F.l1_loss(made.abs(), true.abs()) + F.l1_loss(made.angle(), true.angle())


class PriorEstimate(LossTerm):
    """Difference of the priors that a network estimated and those of the true face, summed over its estimates.

    DIC's and FSRNet's heatmaps, FSRNet's and FishFSRNet's parsing maps. The true prior is brought to the estimate's
    size by averaging.

    Args:
        prior: `heatmaps` or `parsing`: the key in the batch, and the beginning of the estimates' names among the
            network's extras.
        distance: `l1` or `l2`.
    """

    def __init__(self, prior: Literal["heatmaps", "parsing"], distance: Distance = "l2") -> None:
        super().__init__()
        self.priors = (prior,)
        self.distance = _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None, **priors: Tensor) -> Tensor:
        """Returns the loss, a scalar."""
        (name,) = self.priors
        losses = []
        for estimate in _extras(output, name):
            true = F.interpolate(priors[name], size=estimate.shape[-2:], mode="area")
            if true.shape != estimate.shape:
                raise ShapeError(
                    f"The network estimates {name} of shape {tuple(estimate.shape)}, the data has {tuple(true.shape)}. "
                    + _PRIOR_HINTS[name]
                )
            losses.append(self.distance(estimate, true))
        return torch.stack(losses).sum()


class FrozenFeatures(LossTerm):
    """Difference of what a trained network that never changes sees in the restored face and in the truth.

    Args:
        net: Makes features of images in [0, 1]; frozen here.
        distance: `l1` or `l2`.
    """

    def __init__(self, net: nn.Module, distance: Distance) -> None:
        super().__init__()
        # In a tuple, so that its weights are in no checkpoint and no optimiser: they never change.
        self._net = (net.eval().requires_grad_(False),)
        self.distance = _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        net = self._net[0].to(hr.device)
        with torch.no_grad():
            true = net(hr)
        return self.distance(net(output.sr), true)


class FaceFeatures(FrozenFeatures):
    """Mean absolute difference of LightCNN features of the restored face and the truth (DICGAN's perceptual term).

    Args:
        weights: The feature network that DICGAN's authors publish (LightCNN_feature.pth).

    Raises:
        ConfigError: If there are no weights, or they are of another network.
    """

    def __init__(self, weights: str | None) -> None:
        state = _published(weights, lightcnn.rename_published, "LightCNN's weights: DICGAN's LightCNN_feature.pth")
        net = lightcnn.LightCNNFeatures()
        net.load_state_dict(state)
        super().__init__(net, "l1")


class VGGFeatures(FrozenFeatures):
    """Mean squared difference of VGG-16's relu5_3 of the restored face and the truth (FSRGAN's perceptual term).

    Args:
        weights: ImageNet's, as torchvision publishes them (vgg16-397923af.pth).

    Raises:
        ConfigError: If there are no weights, or they are of another network.
    """

    def __init__(self, weights: str | None) -> None:
        state = _published(weights, vgg.rename_published, "VGG-16's weights: torchvision's vgg16-397923af.pth")
        net = vgg.VGG16Features()
        net.load_state_dict(state)
        super().__init__(net, "l2")


def _published(
    weights: str | None, rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor] | None], what: str
) -> dict[str, Tensor]:
    """Returns the weights in a file; `what` says which are wanted, for messages."""
    file = Path(weights).expanduser() if weights else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"The term 'features' needs {what}; there is no file {weights}.\n"
            "Give it by objective.features.term.weights=<file>, or leave the term out: objective.features.weight=0."
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read as weights; expected {what}.") from error
    renamed = rename(state) if isinstance(state, Mapping) else None
    if renamed is None:
        raise ConfigError(f"{file} holds the weights of another network; expected {what}.")
    return renamed


_PRIOR_HINTS: Final = {
    "heatmaps": "data.heatmaps=landmarks has 68 channels, components 5.",
    "parsing": "data.encoding=onehot has 19 channels, colour 3.",
}


def _extras(output: SROutput, name: str) -> list[Tensor]:
    found = [value for key, value in output.extras.items() if key.startswith(name)]
    if not found:
        raise ConfigError(
            f"The objective compares the network's '{name}', and the network makes none (it makes: "
            f"{', '.join(output.extras) or 'nothing but the face'}). Choose an objective that fits the model."
        )
    return found


class TeacherImage(LossTerm):
    """Mean absolute difference of the student's face and the teacher's: L_TS (Eq. 4)."""

    needs_teacher = True

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        assert teacher_output is not None  # the objective asks for the teacher whenever this term is computed
        return F.l1_loss(output.sr, teacher_output.sr)


class FeatureDistillation(LossTerm):
    """Mean over levels of the mean absolute difference of student and teacher features: L_FS (Eq. 5).

    Args:
        levels: Names of the features to compare, e.g. `["down1", "up4"]`; all that both networks return when None
            (KDFSRNet compares the bottleneck too; the paper names the down and up levels only).
        normalised: Divides both features by the standard deviation of the teacher's, level by level, so that every
            level weighs the same whatever its scale. The paper compares the bare features.
    """

    needs_teacher = True

    def __init__(self, levels: Sequence[str] | None = None, normalised: bool = False) -> None:
        super().__init__()
        self.levels = None if levels is None else tuple(levels)
        self.normalised = normalised

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        assert teacher_output is not None  # the objective asks for the teacher whenever this term is computed
        distances = []
        for level in self.compared(output.features, teacher_output.features):
            student, teacher = output.features[level], teacher_output.features[level]
            distance = _mean_absolute(student - teacher)
            distances.append(distance / (teacher.float().std() + 1e-6) if self.normalised else distance)
        return torch.stack(distances).mean()

    def compared(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Sequence[str]:
        """Returns the names of the levels that are compared."""
        return self.levels or [level for level in student if level in teacher]

    def check(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Checks before the first step that the features can be compared.

        Raises:
            ShapeError: If a level is missing on a side or differs in shape; the message names the levels.
        """
        levels = self.compared(student, teacher)
        known = [level for level in student if level in teacher]
        missing = [level for level in levels if level not in known]
        if missing or not levels:
            raise ShapeError(
                f"L_FS is to compare the levels {list(levels)}, but student and teacher share {known}. "
                "Set objective.fs.term.levels to levels that both have, or objective.fs.weight=0."
            )
        different = [
            f"{level}: student {tuple(student[level].shape)}, teacher {tuple(teacher[level].shape)}"
            for level in levels
            if student[level].shape != teacher[level].shape
        ]
        if different:
            raise ShapeError(
                "L_FS cannot compare features of different shapes (B, C, H, W):\n  "
                + "\n  ".join(different)
                + "\nGive student and teacher the same width and levels (model.width, teacher.model.width), or "
                "set objective.fs.weight=0."
            )


def _mean_absolute(difference: Tensor) -> Tensor:
    """Returns the mean of the absolute values, summed in float32 or better.

    What `l1_loss` does, except that it keeps float32 copies of features in mixed precision, a tenth of a step's memory.
    The gradient is the sign of the difference, and that is exact in any float type.
    """
    return difference.abs().mean(dtype=torch.promote_types(difference.dtype, torch.float32))


class Objective(nn.Module):
    """The weighted sum of named terms: L_T for a teacher, L_S (Eq. 2) for a student.

    Args:
        terms: Each term and its weight, by name.

    Raises:
        ConfigError: If a weight is impossible, or no term counts during the whole training.
    """

    def __init__(self, terms: Mapping[str, tuple[Weight, LossTerm]]) -> None:
        super().__init__()
        for name, (weight, _) in terms.items():
            weight.check(name)
        kept = {name: pair for name, pair in terms.items() if pair[0].value > 0}
        if not any(weight.schedule == "constant" and not weight.start for weight, _ in kept.values()):
            raise ConfigError(
                "No term of the objective lasts the whole training, so there would be steps that learn nothing. Give "
                "one a weight above 0 and schedule=constant, as objective.sr has by default."
            )
        self.weights = {name: weight for name, (weight, _) in kept.items()}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in kept.items()})

    def active(self, progress: Progress) -> dict[str, float]:
        """Returns λ of every term that counts at `progress`."""
        weights = {name: weight.at(progress) for name, weight in self.weights.items()}
        return {name: weight for name, weight in weights.items() if weight > 0}

    def needs_teacher(self, progress: Progress | None = None) -> bool:
        """Returns whether a term reads the teacher's output at `progress`, or ever if it is None."""
        names = self.weights if progress is None else self.active(progress)
        return any(self._term(name).needs_teacher for name in names)

    def check(self, output: SROutput, teacher_output: SROutput) -> None:
        """Lets every term check once that student and teacher fit together.

        Raises:
            ShapeError: If they do not; the message names the levels.
        """
        if output.sr.shape != teacher_output.sr.shape:
            raise ShapeError(
                f"The student restores {tuple(output.sr.shape)}, the teacher {tuple(teacher_output.sr.shape)}. Both "
                "need the same scale."
            )
        for name in self.terms:
            self._term(name).check(output.features, teacher_output.features)

    def forward(
        self,
        output: SROutput,
        hr: Tensor,
        teacher_output: SROutput | None,
        progress: Progress,
        priors: Mapping[str, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the total, and every computed term before its weight.

        Args:
            output: What the trained network made.
            hr: The truth, (B, 3, H, W) in [0, 1].
            teacher_output: What the teacher made; None where `needs_teacher(progress)` is False.
            progress: The moment in the training.
            priors: The batch, from which terms take the priors they list.

        Returns:
            The weighted sum, a scalar, and the unweighted terms by name, detached.
        """
        weights = self.active(progress)
        parts = {
            name: self.terms[name](output, hr, teacher_output, **self._priors(name, priors or {})) for name in weights
        }
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}

    def _term(self, name: str) -> LossTerm:
        term: Any = self.terms[name]  # a ModuleDict knows modules only
        return term

    def _priors(self, name: str, given: Mapping[str, Any]) -> dict[str, Tensor]:
        wanted = self._term(name).priors
        missing = [prior for prior in wanted if prior not in given]
        if missing:
            raise DataError(
                f"The objective's term '{name}' needs {missing[0]}, which the data does not have: prepare a store with "
                "parsing maps (parser=bisenet) or landmarks (landmarks=dlib), and set data.heatmaps for heatmaps."
            )
        return {prior: given[prior] for prior in wanted}
