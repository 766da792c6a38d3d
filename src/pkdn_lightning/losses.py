"""The losses: named terms with scheduled weights.

A term compares the network's output with the ground truth (`Reconstruction`), with the output of the frozen teacher
(`TeacherImage`, `FeatureDistillation`), or an estimated prior with that of the HR face (`PriorEstimate`). `Objective`
is their weighted sum. Terms with weight 0 are not computed, and the teacher runs only if an active term needs it.
Equation numbers refer to PKDN; terms of other methods name their paper.
"""

import math
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
    """Training progress, from which schedules compute weights.

    Attributes:
        step: Optimiser steps so far.
        epoch: Completed epochs.
    """

    step: int
    epoch: int


class Weight(NamedTuple):
    """A term's weight λ and its schedule.

    Attributes:
        value: Initial λ.
        schedule: `constant`; `linear` decay from `value` to 0 over `duration` units (KDFSRNet's λ_FS); `hold` keeps
            `value` up to and including unit `duration`, then 0 (KDFSRNet's λ_TS).
        duration: Length of `linear` and `hold` in `unit`s; ignored for `constant`.
        unit: `epoch` (KDFSRNet) or `step` (optimiser steps).
        start: Unit before which the weight is 0; `duration` counts from there.
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
        """Checks the values.

        Raises:
            ConfigError: If λ is negative or not finite, or a schedule has no duration.
        """
        if not math.isfinite(self.value) or self.value < 0:
            raise ConfigError(f"objective.{name}.weight={self.value}: a weight has to be finite and 0 or more.")
        if self.schedule != "constant" and not (self.duration and self.duration > 0):
            raise ConfigError(
                f"objective.{name}.schedule={self.schedule} needs a duration. Set objective.{name}.duration to a "
                f"number of {self.unit}s above 0, or objective.{name}.schedule=constant."
            )


Distance = Literal["l1", "l2"]
_DISTANCES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"l1": F.l1_loss, "l2": F.mse_loss}


class LossTerm(nn.Module):
    """Base class of the terms.

    `forward(output, hr, teacher_output, **priors)` takes the network's output, the ground truth (B, 3, H, W) in [0, 1],
    the teacher's output (None if no term needs it), and the priors listed in `priors`; it returns a scalar.

    Attributes:
        needs_teacher: Whether the term reads the teacher's output.
        priors: Batch keys passed as keyword arguments: `parsing`, `heatmaps`.
    """

    needs_teacher: ClassVar[bool] = False
    priors: tuple[str, ...] = ()

    def check(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Checks before the first step that the features of student and teacher match; does nothing by default.

        Raises:
            ShapeError: If they do not.
        """


class Reconstruction(LossTerm):
    """Distance between the restored face and the ground truth: L_T (Eq. 1) and L_SR (Eq. 3).

    Args:
        distance: `l1` is the mean absolute error, `l2` the mean squared error (URDGN, FSRNet).
    """

    def __init__(self, distance: Distance = "l1") -> None:
        super().__init__()
        self.distance = _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        return self.distance(output.sr, hr)


class Intermediate(LossTerm):
    """Distance between intermediate faces and the ground truth, summed over the faces.

    Used for DIC's earlier steps, FSRNet's coarse face and SFMNet's frequency branch.

    Args:
        name: Prefix of the faces' names in the network's extras, e.g. `sr` for `sr1`, `sr2`, `sr3`.
        distance: `l1` or `l2`.
    """

    def __init__(self, name: str, distance: Distance = "l1") -> None:
        super().__init__()
        self.name, self.distance = name, _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        return torch.stack([self.distance(face, hr) for face in _extras(output, self.name)]).sum()


class Spectrum(LossTerm):
    """Sum of the L1 distances between the amplitudes and between the phases of the Fourier transforms (SFMNet).

    Args:
        name: Name of the face in the network's extras.
    """

    def __init__(self, name: str = "frequency") -> None:
        super().__init__()
        self.name = name

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        restored, true = (torch.fft.rfft2(face.float()) for face in (_extras(output, self.name)[0], hr))
        return F.l1_loss(restored.abs(), true.abs()) + F.l1_loss(restored.angle(), true.angle())


class PriorEstimate(LossTerm):
    """Distance between estimated priors and those of the HR face, summed over the estimates.

    Used for DIC's and FSRNet's heatmaps, and FSRNet's and FishFSRNet's parsing maps. The true prior is resized to the
    estimate's size by averaging.

    Args:
        prior: `heatmaps` or `parsing`: the batch key, and the prefix of the estimates' names in the network's extras.
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
    """Distance between the features of a frozen network for the restored face and the ground truth.

    Args:
        net: Feature network for images in [0, 1]; it is frozen here.
        distance: `l1` or `l2`.
    """

    def __init__(self, net: nn.Module, distance: Distance) -> None:
        super().__init__()
        # In a tuple, so that the network is not a submodule and its weights stay out of checkpoints and optimisers.
        self._net = (net.eval().requires_grad_(False),)
        self.distance = _DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        net = self._net[0].to(hr.device)
        with torch.no_grad():
            true = net(hr)
        return self.distance(net(output.sr), true)


class FaceFeatures(FrozenFeatures):
    """L1 distance between LightCNN features (DICGAN's perceptual term).

    Args:
        weights: File of the weights published by DICGAN's authors (LightCNN_feature.pth).

    Raises:
        ConfigError: If the file does not exist or holds the weights of another network.
    """

    def __init__(self, weights: str | None) -> None:
        state = _load_weights(weights, lightcnn.rename_published, "LightCNN's weights: DICGAN's LightCNN_feature.pth")
        net = lightcnn.LightCNNFeatures()
        net.load_state_dict(state)
        super().__init__(net, "l1")


class VGGFeatures(FrozenFeatures):
    """Mean squared error between VGG-16's relu5_3 features (FSRGAN's perceptual term).

    Args:
        weights: File of torchvision's ImageNet weights (vgg16-397923af.pth).

    Raises:
        ConfigError: If the file does not exist or holds the weights of another network.
    """

    def __init__(self, weights: str | None) -> None:
        state = _load_weights(weights, vgg.rename_published, "VGG-16's weights: torchvision's vgg16-397923af.pth")
        net = vgg.VGG16Features()
        net.load_state_dict(state)
        super().__init__(net, "l2")


def _load_weights(
    weights: str | None, rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor] | None], expected: str
) -> dict[str, Tensor]:
    """Returns the renamed weights in a file; `expected` describes them in error messages."""
    file = Path(weights).expanduser() if weights else None
    if file is None or not file.is_file():
        raise ConfigError(
            f"The term 'features' needs {expected}; the file {weights} does not exist.\n"
            "Set objective.features.term.weights=<file>, or leave the term out: objective.features.weight=0."
        )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise various errors for files that are no checkpoints
        raise ConfigError(f"{file} cannot be read as weights; expected {expected}.") from error
    renamed = rename(state) if isinstance(state, Mapping) else None
    if renamed is None:
        raise ConfigError(f"{file} holds the weights of another network; expected {expected}.")
    return renamed


_PRIOR_HINTS: Final = {
    "heatmaps": "data.heatmaps=landmarks has 68 channels, components 5.",
    "parsing": "data.encoding=onehot has 19 channels, colour 3.",
}


def _extras(output: SROutput, name: str) -> list[Tensor]:
    found = [value for key, value in output.extras.items() if key.startswith(name)]
    if not found:
        raise ConfigError(
            f"The objective needs the network's output '{name}', which this network does not return (it returns: "
            f"{', '.join(output.extras) or 'the face only'}). Choose an objective that fits the model."
        )
    return found


class TeacherImage(LossTerm):
    """L1 distance between the student's and the teacher's face: L_TS (Eq. 4)."""

    needs_teacher = True

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        assert teacher_output is not None  # guaranteed by needs_teacher
        return F.l1_loss(output.sr, teacher_output.sr)


class FeatureDistillation(LossTerm):
    """L1 distance between student and teacher features, averaged over levels: L_FS (Eq. 5).

    Args:
        levels: Names of the features to compare, e.g. `["down1", "up4"]`; None compares all that both networks return
            (including the bottleneck, as KDFSRNet does; the paper names the down and up levels only).
        normalised: Divides the features of each level by the teacher's standard deviation, so that all levels have
            equal weight. The paper does not normalise.
    """

    needs_teacher = True

    def __init__(self, levels: Sequence[str] | None = None, normalised: bool = False) -> None:
        super().__init__()
        self.levels = None if levels is None else tuple(levels)
        self.normalised = normalised

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        assert teacher_output is not None  # guaranteed by needs_teacher
        distances = []
        for level in self.compared(output.features, teacher_output.features):
            student, teacher = output.features[level], teacher_output.features[level]
            distance = _mean_absolute(student - teacher)
            distances.append(distance / (teacher.float().std() + 1e-6) if self.normalised else distance)
        return torch.stack(distances).mean()

    def compared(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Sequence[str]:
        """Returns the names of the compared levels."""
        return self.levels or [level for level in student if level in teacher]

    def check(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Checks before the first step that the features can be compared.

        Raises:
            ShapeError: If a level is missing in one network or differs in shape; the message names the levels.
        """
        levels = self.compared(student, teacher)
        shared = [level for level in student if level in teacher]
        if not levels or not set(levels) <= set(shared):
            raise ShapeError(
                f"L_FS cannot compare the levels {list(levels)}: student and teacher share {shared}. "
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
    """Returns the mean absolute value, accumulated in float32 or wider.

    Under mixed precision `l1_loss` would keep float32 copies of the features, a tenth of a step's memory. The gradient,
    the sign of the difference, is exact in any float type.
    """
    return difference.abs().mean(dtype=torch.promote_types(difference.dtype, torch.float32))


class Objective(nn.Module):
    """The weighted sum of named terms: L_T for a teacher, L_S (Eq. 2) for a student.

    Args:
        terms: Weights and terms by name.

    Raises:
        ConfigError: If a weight is invalid, or no term is active throughout the training.
    """

    def __init__(self, terms: Mapping[str, tuple[Weight, LossTerm]]) -> None:
        super().__init__()
        for name, (weight, _) in terms.items():
            weight.check(name)
        kept = {name: pair for name, pair in terms.items() if pair[0].value > 0}
        if not any(weight.schedule == "constant" and not weight.start for weight, _ in kept.values()):
            raise ConfigError(
                "No term of the objective lasts the whole training, so some steps would have no loss. Give one term a "
                "weight above 0 and schedule=constant, the default of objective.sr."
            )
        self.weights = {name: weight for name, (weight, _) in kept.items()}
        self.terms = nn.ModuleDict({name: term for name, (_, term) in kept.items()})

    def active(self, progress: Progress) -> dict[str, float]:
        """Returns the nonzero weights at `progress`, by term."""
        weights = {name: weight.at(progress) for name, weight in self.weights.items()}
        return {name: weight for name, weight in weights.items() if weight > 0}

    def needs_teacher(self, progress: Progress | None = None) -> bool:
        """Returns whether an active term reads the teacher's output at `progress`; if None, at any time."""
        names = self.weights if progress is None else self.active(progress)
        return any(self._term(name).needs_teacher for name in names)

    def check(self, output: SROutput, teacher_output: SROutput) -> None:
        """Checks that the outputs of student and teacher can be compared.

        Raises:
            ShapeError: If they cannot; the message names the levels.
        """
        if output.sr.shape != teacher_output.sr.shape:
            raise ShapeError(
                f"The student returns faces of shape {tuple(output.sr.shape)}, the teacher "
                f"{tuple(teacher_output.sr.shape)}. Both need the same scale."
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
        """Returns the weighted sum, a scalar, and the unweighted active terms by name, detached.

        Args:
            output: Output of the trained network.
            hr: Ground truth, (B, 3, H, W) in [0, 1].
            teacher_output: Output of the teacher; None if `needs_teacher(progress)` is False.
            progress: Training progress.
            priors: The batch, from which terms take the priors they list.
        """
        weights = self.active(progress)
        parts = {
            name: self.terms[name](output, hr, teacher_output, **self._priors(name, priors or {})) for name in weights
        }
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return total, {name: part.detach() for name, part in parts.items()}

    def _term(self, name: str) -> LossTerm:
        term: Any = self.terms[name]  # ModuleDict is typed as holding any Module
        return term

    def _priors(self, name: str, given: Mapping[str, Any]) -> dict[str, Tensor]:
        priors = self._term(name).priors
        missing = [prior for prior in priors if prior not in given]
        if missing:
            raise DataError(
                f"The objective's term '{name}' needs {missing[0]}, which the data does not have: prepare a store with "
                "parsing maps (parser=bisenet) or landmarks (landmarks=dlib), and set data.heatmaps for heatmaps."
            )
        return {prior: given[prior] for prior in priors}
