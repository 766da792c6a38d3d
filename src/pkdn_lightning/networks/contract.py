"""The contract between networks and everything else: what a network is, what it returns, what it checks."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from pkdn_lightning.errors import ShapeError


class SROutput(NamedTuple):
    """The result of one forward pass; the contract between networks, losses and metrics.

    Attributes:
        sr: Restored faces, (B, 3, H * scale, W * scale), nominally in [0, 1] but not clamped.
        features: Named intermediate features in the order they were computed. Distillation matches them by name.
        extras: What else a method predicts (heatmaps, parsing maps, earlier iterations), by name.
    """

    sr: Tensor
    features: dict[str, Tensor] = {}  # noqa: RUF012  # shared and never changed, here and below
    extras: dict[str, Tensor] = {}  # noqa: RUF012


class PublishedWeights(NamedTuple):
    """Weights that a method's authors published, in the names of this package.

    Attributes:
        weights: State dict of the network.
        arguments: What the network is built with, where the authors published more than one size.
    """

    weights: dict[str, Tensor]
    arguments: dict[str, Any] = {}  # noqa: RUF012  # shared and never changed


class SRNetwork(nn.Module):
    """A network that restores faces. Every network of the suite, and every one that it is to train, derives from it.

    `forward(lr)`, or `forward(lr, parsing)` where `uses_parsing` is set, takes LR faces (B, 3, H, W) in [0, 1], and
    encoded parsing maps (B, P, H * scale, W * scale); it returns an `SROutput`.

    Attributes:
        scale: Enlargement from LR to HR.
        uses_parsing: Whether the network reads the parsing map of the HR face: then it can be a teacher.
    """

    uses_parsing: ClassVar[bool] = False
    scale: int

    def inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Returns what `forward` takes of a batch: `lr`, and `parsing` where the network reads it."""
        return (batch["lr"], batch["parsing"]) if self.uses_parsing else (batch["lr"],)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the weights in a state dict that the method's authors published, or None if it is of another network.

        Networks whose authors published weights override this; a file is offered to every network of the package.

        Args:
            state: The state dict as published.
        """
        return None


def require_image(lr: Tensor, *, scale: int, multiple: int) -> None:
    """Checks that `lr` is a batch of RGB images whose enlarged sides divide by `multiple`.

    Args:
        lr: Candidate input, expected (B, 3, H, W).
        scale: Enlargement of the network.
        multiple: What `H * scale` and `W * scale` have to be divisible by.

    Raises:
        ShapeError: If the rank, the channel count or a side does not fit.
    """
    if lr.ndim != 4 or lr.shape[1] != 3:
        raise ShapeError(f"Expected LR faces of shape (B, 3, H, W), got {tuple(lr.shape)}.")
    height, width = lr.shape[-2] * scale, lr.shape[-1] * scale
    if height % multiple or width % multiple:
        raise ShapeError(
            f"LR {lr.shape[-2]}x{lr.shape[-1]} enlarged x{scale} is {height}x{width}, but the sides have to divide "
            f"by {multiple} (2 per level of the network). Crop or pad the image, or use a network with fewer levels."
        )


def require_size(images: Tensor, size_px: int) -> None:
    """Checks that `images` are what a discriminator was built for.

    Args:
        images: Candidate input, expected (B, 3, size_px, size_px).
        size_px: Side that the discriminator was built for.

    Raises:
        ShapeError: If they are of another shape.
    """
    if tuple(images.shape[1:]) != (3, size_px, size_px):
        raise ShapeError(
            f"Expected images of shape (B, 3, {size_px}, {size_px}), got {tuple(images.shape)}. Set the "
            "discriminator's size_px to their side."
        )
