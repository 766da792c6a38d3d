"""What every network returns, and the checks every network makes on what it is given."""

from typing import NamedTuple

from torch import Tensor

from pkdn_lightning.errors import ShapeError


class SROutput(NamedTuple):
    """The result of one forward pass; the contract between networks, losses and metrics.

    Attributes:
        sr: Restored faces, (B, 3, H * scale, W * scale), nominally in [0, 1] but not clamped.
        features: Named intermediate features in the order they were computed. Distillation matches them by name.
        extras: What else a method predicts (heatmaps, parsing maps, earlier iterations), by name.
    """

    sr: Tensor
    features: dict[str, Tensor]
    extras: dict[str, Tensor]


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
