"""Losses that compare a student with its frozen teacher."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.losses.terms import DISTANCES, Distance, LossTerm
from pkdn_lightning.networks.contract import SROutput
from pkdn_lightning.values import Count

Levels = Sequence[str] | Mapping[str, str]


class TeacherImage(LossTerm):
    """Distance between the student's and the teacher's face: L_TS.

    Args:
        distance: `l1` is the mean absolute error (Eq. 4), `l2` the mean squared error.
    """

    needs_teacher, teacher_features = True, False

    def __init__(self, distance: Distance = "l1") -> None:
        super().__init__()
        self.distance = DISTANCES[distance]

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        assert teacher_output is not None  # guaranteed by needs_teacher
        return self.distance(output.sr, teacher_output.sr)


class FeatureTerm(LossTerm):
    """Base class of the terms that compare features of student and teacher, averaged over pairs of levels.

    Subclasses implement `compare(student, teacher)`.

    Args:
        levels: Names of the features to compare, e.g. `["down1", "up4"]`, or the teacher's by the student's name, e.g.
            `{"d3": "up4"}`; None compares all features that have the same name in both networks.
    """

    needs_teacher = True
    symbol: ClassVar[str] = "The loss"

    def __init__(self, levels: Levels | None = None) -> None:
        super().__init__()
        if levels is not None and not levels:
            raise ConfigError(
                "levels=[] compares nothing: name features, or set null for all, or the term's weight to 0."
            )
        self.levels = levels if levels is None or isinstance(levels, Mapping) else {name: name for name in levels}

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        """Returns the loss, a scalar."""
        assert teacher_output is not None  # guaranteed by needs_teacher
        student, teacher = output.features, teacher_output.features
        pairs = self.pairs(student, teacher)
        return torch.stack([self.compare(student[own], teacher[other], own) for own, other in pairs.items()]).mean()

    def compare(self, student: Tensor, teacher: Tensor, level: str) -> Tensor:
        """Returns the loss of one pair of features, a scalar.

        Args:
            student: Features (B, C, H, W) of the student.
            teacher: Features (B, C, H, W) of the teacher; channels and size may differ from the student's.
            level: The student's name of the level.
        """
        raise NotImplementedError

    def pairs(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Mapping[str, str]:
        """Returns the compared levels: the teacher's name by the student's."""
        return self.levels or {name: name for name in student if name in teacher}

    def check(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Checks that every compared level exists in both networks.

        Raises:
            ShapeError: If one does not; the message names the levels that exist.
        """
        pairs = self.pairs(student, teacher)
        if not pairs or not (pairs.keys() <= student.keys() and set(pairs.values()) <= teacher.keys()):
            raise ShapeError(
                f"{self.symbol} cannot compare the levels {_shown(pairs)}: the student has {list(student)}, the "
                f"teacher {list(teacher)}.\nSet the term's levels, e.g. 'objective.fs.term.levels={{<student's name>: "
                "<teacher's name>}', name layers of a network as features (module.features, teacher.features), or set "
                "the term's weight to 0."
            )


class FeatureDistillation(FeatureTerm):
    """L1 distance between student and teacher features, averaged over levels: L_FS (Eq. 5).

    Args:
        levels: See `FeatureTerm`. All levels include the bottleneck, as in KDFSRNet; the paper names the down and up
            levels only.
        normalised: Divides the features of each level by the teacher's standard deviation, so that all levels have
            equal weight. The paper does not normalise.
        adapters: Maps the student's features to the teacher's channels by a learned 1x1 convolution per level, and
            averages the teacher's features to the student's size. For pairs of different width, depth or family
            (Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015). Adapters are trained with the student and
            are no part of its network.
    """

    symbol = "L_FS"

    def __init__(self, levels: Levels | None = None, normalised: bool = False, adapters: bool = False) -> None:
        super().__init__(levels)
        self.normalised, self.adapters = normalised, adapters
        self.convs = nn.ModuleDict()

    def adapt(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Creates the 1x1 convolutions."""
        self.check(student, teacher)
        for own, other in self.pairs(student, teacher).items():
            conv = nn.Conv2d(student[own].shape[1], teacher[other].shape[1], 1)
            self.convs[_key(own)] = conv.to(student[own].device)

    def compare(self, student: Tensor, teacher: Tensor, level: str) -> Tensor:
        """Returns the loss of one level, a scalar."""
        if self.adapters:
            student, teacher = self.convs[_key(level)](student), _resized(teacher, student)
        distance = _mean_absolute(student - teacher)
        return distance / (teacher.float().std() + 1e-6) if self.normalised else distance

    def check(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Checks that the features can be compared.

        Raises:
            ShapeError: If a level is missing in one network, or differs in shape and there are no adapters; the message
                names the levels.
        """
        super().check(student, teacher)
        different = [
            f"{own}: student {tuple(student[own].shape)}, teacher {tuple(teacher[other].shape)}"
            for own, other in self.pairs(student, teacher).items()
            if student[own].shape != teacher[other].shape
        ]
        if different and not self.adapters:
            raise ShapeError(
                "L_FS cannot compare features of different shapes (B, C, H, W):\n  "
                + "\n  ".join(different)
                + "\nSet objective.fs.term.adapters=true, or give student and teacher the same width and levels "
                "(model.width, teacher.model.width), or set objective.fs.weight=0."
            )


class AttentionTransfer(FeatureTerm):
    """Distance between the spatial attention maps of student and teacher.

    A map is the sum of squared features over channels, scaled to unit length; the distance is the Euclidean one,
    averaged over faces and levels (Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, Eq. 2).
    Numbers of channels may differ; teacher features are averaged to the student's size.

    Args:
        levels: See `FeatureTerm`.
    """

    symbol = "Attention transfer"

    def compare(self, student: Tensor, teacher: Tensor, level: str) -> Tensor:
        """Returns the loss of one level, a scalar."""
        teacher = _resized(teacher, student)
        own, other = (F.normalize(each.float().square().sum(1).flatten(1), dim=1) for each in (student, teacher))
        return torch.linalg.vector_norm(own - other, dim=1).mean()


class FeatureAffinity(FeatureTerm):
    """Mean absolute difference between the spatial affinity matrices of student and teacher.

    An affinity matrix holds the cosine similarity of the feature vectors at any two places of a face (He et al., "FAKD:
    Feature-Affinity Based Knowledge Distillation for Efficient Image Super-Resolution", ICIP 2020, Eq. 2 and 3).
    Numbers of channels may differ.

    Args:
        levels: See `FeatureTerm`.
        size_px: Side to which larger features are averaged first. A matrix has size_px^4 entries per face.
    """

    symbol = "Feature affinity"

    def __init__(self, levels: Levels | None = None, size_px: Count = 16) -> None:
        super().__init__(levels)
        self.size_px = size_px

    def compare(self, student: Tensor, teacher: Tensor, level: str) -> Tensor:
        """Returns the loss of one level, a scalar."""
        height, width = (min(side, self.size_px) for side in student.shape[-2:])
        vectors = (F.adaptive_avg_pool2d(each.float(), (height, width)).flatten(2) for each in (student, teacher))
        own, other = (F.normalize(each, dim=1) for each in vectors)  # (B, C, P) of P places
        return F.l1_loss(own.transpose(1, 2) @ own, other.transpose(1, 2) @ other)


def _resized(teacher: Tensor, student: Tensor) -> Tensor:
    """Returns teacher features averaged to the size of the student's."""
    height, width = student.shape[-2:]
    return teacher if teacher.shape[-2:] == (height, width) else F.adaptive_avg_pool2d(teacher, (height, width))


def _key(level: str) -> str:
    return level.replace(".", "_")  # the names of modules have no dots


def _shown(pairs: Mapping[str, str]) -> list[str]:
    return [own if own == other else f"{own}: {other}" for own, other in pairs.items()]


def _mean_absolute(difference: Tensor) -> Tensor:
    """Returns the mean absolute value, accumulated in float32 or wider.

    Under mixed precision `l1_loss` would keep float32 copies of the features, a tenth of a step's memory. The gradient,
    the sign of the difference, is exact in any float type.
    """
    return difference.abs().mean(dtype=torch.promote_types(difference.dtype, torch.float32))
