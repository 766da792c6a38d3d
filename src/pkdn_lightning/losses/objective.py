"""The weighted sum of loss terms, whose weights follow schedules."""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, DataError, ShapeError
from pkdn_lightning.losses.terms import LossTerm
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


class Objective(nn.Module):
    """The weighted sum of named terms: L_T for a teacher, L_S (Eq. 2) for a student.

    Args:
        terms: Weights and terms by name; a number is a constant weight.

    Raises:
        ConfigError: If a weight is invalid, or no term is active throughout the training.
    """

    def __init__(self, terms: Mapping[str, tuple[Weight | float, LossTerm]]) -> None:
        super().__init__()
        weighted = {name: (w if isinstance(w, Weight) else Weight(w), term) for name, (w, term) in terms.items()}
        for name, (weight, _) in weighted.items():
            weight.check(name)
        kept = {name: pair for name, pair in weighted.items() if pair[0].value > 0}
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

    @property
    def feature_terms(self) -> list[str]:
        """Names of the terms that read more of the teacher's output than the face."""
        terms = {name: self._term(name) for name in self.terms}
        return [name for name, term in terms.items() if term.needs_teacher and term.teacher_features]

    @property
    def reads_features(self) -> bool:
        """Whether a term may read features, the network's own or the teacher's."""
        own = type(self).__module__.partition(".")[0]
        foreign = any(type(term).__module__.partition(".")[0] != own for term in self.terms.values())
        return foreign or bool(self.feature_terms)

    @property
    def priors(self) -> set[str]:
        """Batch keys of the priors that terms read."""
        return {prior for name in self.terms for prior in self._term(name).priors}

    @property
    def adapters(self) -> bool:
        """Whether a term learns parameters whose shapes depend on the features; see `adapt`."""
        return any(self._term(name).adapters for name in self.terms)

    def adapt(self, output: SROutput, teacher_output: SROutput) -> None:
        """Creates the adapters of the terms that have any.

        Raises:
            ShapeError: If the features of student and teacher cannot be compared.
        """
        for name in self.terms:
            if self._term(name).adapters:
                self._term(name).adapt(output.features, teacher_output.features)

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
        for name, part in parts.items():
            if not isinstance(part, Tensor) or part.ndim:
                found = f"a tensor of shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
                raise ConfigError(
                    f"{type(self.terms[name]).__name__}, the objective's term '{name}', returns {found}; expected a "
                    "scalar tensor, e.g. the mean over the batch."
                )
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        for name in self.weights.keys() - weights.keys():  # training on several devices expects all gradients
            for parameter in self.terms[name].parameters():
                total = total + 0.0 * parameter.sum()
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
