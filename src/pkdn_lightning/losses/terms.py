"""The base class of loss terms, and the terms that compare with the ground truth."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.networks.contract import SROutput

Distance = Literal["l1", "l2"]
DISTANCES: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"l1": F.l1_loss, "l2": F.mse_loss}


class LossTerm(nn.Module):
    """Base class of the terms.

    `forward(output, hr, teacher_output, **priors)` takes the network's output, the ground truth (B, 3, H, W) in [0, 1],
    the teacher's output (None if no term needs it), and the priors listed in `priors`; it returns a scalar.

    Attributes:
        needs_teacher: Whether the term reads the teacher's output.
        teacher_features: Whether it then reads more of it than the face, so that the teacher has to run at every step.
        priors: Batch keys passed as keyword arguments: `parsing`, `heatmaps`.
        adapters: Whether the term learns parameters whose shapes `adapt` takes from the features.
    """

    needs_teacher: ClassVar[bool] = False
    teacher_features: ClassVar[bool] = True
    priors: tuple[str, ...] = ()
    adapters: bool = False

    def adapt(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        """Creates the parameters of a term with `adapters`, once, from the features of one face.

        Raises:
            ShapeError: If the features cannot be compared.
        """

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
        self.distance = DISTANCES[distance]

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
        self.name, self.distance = name, DISTANCES[distance]

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
        self.distance = DISTANCES[distance]

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
