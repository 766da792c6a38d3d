"""The interface of the networks: base class, output type and input checks."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from pkdn_lightning.errors import ShapeError


class SROutput(NamedTuple):
    """The result of a forward pass.

    Attributes:
        sr: Restored faces, (B, 3, H * scale, W * scale), nominally in [0, 1] but not clamped.
        features: Intermediate features in order of computation. Distillation matches them by name.
        extras: Other predictions (heatmaps, parsing maps, earlier iterations) by name.
    """

    sr: Tensor
    features: dict[str, Tensor] = {}  # noqa: RUF012  # never mutated, here and below
    extras: dict[str, Tensor] = {}  # noqa: RUF012


class PublishedWeights(NamedTuple):
    """Weights published by a method's authors, under this package's names.

    Attributes:
        weights: State dict of the network.
        arguments: Constructor arguments of the network where they differ from the defaults.
    """

    weights: dict[str, Tensor]
    arguments: dict[str, Any] = {}  # noqa: RUF012


class SRNetwork(nn.Module):
    """Base class of all face super-resolution networks that this package trains.

    `forward(lr)`, or `forward(lr, parsing)` if `uses_parsing` is set, takes LR faces (B, 3, H, W) in [0, 1] and encoded
    parsing maps (B, P, H * scale, W * scale), and returns an `SROutput`.

    Attributes:
        scale: Enlargement from LR to HR.
        uses_parsing: Whether the network reads the parsing map of the HR face, as teachers do.
    """

    uses_parsing: ClassVar[bool] = False
    scale: int

    def inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Returns the arguments of `forward` from a batch: `lr`, and `parsing` if the network reads it."""
        return (batch["lr"], batch["parsing"]) if self.uses_parsing else (batch["lr"],)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Converts a state dict published by the method's authors; returns None if it belongs to another network.

        Networks with published weights override this method.
        """
        return None


def require_image(lr: Tensor, *, scale: int, multiple: int) -> None:
    """Checks that `lr` has shape (B, 3, H, W), with `H * scale` and `W * scale` divisible by `multiple`.

    Raises:
        ShapeError: If the rank, the channel count or a side is wrong.
    """
    if lr.ndim != 4 or lr.shape[1] != 3:
        raise ShapeError(f"Expected LR faces of shape (B, 3, H, W), got {tuple(lr.shape)}.")
    height, width = lr.shape[-2] * scale, lr.shape[-1] * scale
    if height % multiple or width % multiple:
        raise ShapeError(
            f"LR {lr.shape[-2]}x{lr.shape[-1]} enlarged x{scale} is {height}x{width}, but the sides have to be "
            f"divisible by {multiple}. Crop or pad the image, or use a network with fewer levels."
        )


def require_size(images: Tensor, size_px: int) -> None:
    """Checks that the input of a discriminator has shape (B, 3, size_px, size_px).

    Raises:
        ShapeError: If it has another shape.
    """
    if tuple(images.shape[1:]) != (3, size_px, size_px):
        raise ShapeError(
            f"Expected images of shape (B, 3, {size_px}, {size_px}), got {tuple(images.shape)}. Set the "
            "discriminator's size_px to their side."
        )
