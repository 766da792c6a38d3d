"""Augmentation: random zoom, rotation, shift and colour changes of the training faces.

The parameters of each face, its *view*, are drawn by the batch sampler, so that a resumed run sees the same views as an
uninterrupted one. They are applied to images, parsing maps and landmarks on the device.
"""

from dataclasses import dataclass, fields
from typing import Final, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.values import Change, Turn, check

VIEW: Final = ("zoom", "angle_deg", "right", "down", "brightness", "contrast", "saturation")
"""Columns of a view; `right` and `down` are fractions of the image's side, the last three are factors."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges from which views are drawn uniformly; if all are 0, none are drawn.

    Attributes:
        zoom_in: Maximum enlargement; 0.3 enlarges a face up to 1.3 times.
        zoom_out: Maximum reduction; pixels outside the image are filled by reflection.
        turn_deg: Maximum rotation to either side, in degrees.
        shift: Maximum shift in both directions, as a fraction of the side.
        colour: Maximum relative change of brightness, contrast and saturation.
    """

    zoom_in: Change = 0.0
    zoom_out: Change = 0.0
    turn_deg: Turn = 0.0
    shift: Change = 0.0
    colour: Change = 0.0

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            check(f"data.augmentation.{name}", getattr(self, name), hint)

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def draw(self, faces: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """Returns random views, (faces, 7); see `VIEW`."""
        near, angle, right, down, *light = generator.uniform(-1, 1, (len(VIEW), faces))
        zoom = 1 + np.where(near > 0, near * self.zoom_in, near * self.zoom_out)
        place = [zoom, angle * self.turn_deg, right * self.shift, down * self.shift]
        return np.stack([*place, *(1 + each * self.colour for each in light)], axis=1).astype(np.float32)


def placement(view: Tensor, size_px: int) -> Tensor:
    """Returns the affine matrices of views, (B, 2, 3), which act on pixel coordinates (x, y, 1)."""
    from kornia.geometry.transform import get_rotation_matrix2d  # takes a second to import; few runs need it

    zoom, angle, right, down = view[:, :4].unbind(1)
    centre = torch.full_like(view[:, :2], (size_px - 1) / 2)
    matrix: Tensor = get_rotation_matrix2d(centre, angle, torch.stack([zoom, zoom], 1))
    matrix[:, :, 2] += torch.stack([right, down], 1) * size_px
    return matrix


def view_faces(hr: Tensor, view: Tensor) -> Tensor:
    """Returns faces with the geometry and colour changes of their views.

    Args:
        hr: (B, 3, S, S) uint8.
        view: (B, 7).
    """
    from kornia.enhance import adjust_brightness_accumulative, adjust_contrast_with_mean_subtraction, adjust_saturation
    from kornia.geometry.transform import warp_affine

    size = (hr.shape[-2], hr.shape[-1])
    placed = warp_affine(
        hr.float() / 255, placement(view, size[0]), size, mode="bicubic", padding_mode="reflection"
    ).clamp(0, 1)
    brightness, contrast, saturation = view[:, 4:].unbind(1)
    lit = adjust_brightness_accumulative(placed, brightness)
    lit = adjust_contrast_with_mean_subtraction(lit, contrast)
    return (adjust_saturation(lit, saturation) * 255).round().to(torch.uint8)


def view_parsing(parsing: Tensor, view: Tensor) -> Tensor:
    """Returns label maps (B, S, S) uint8 under the transforms of the faces, by nearest-neighbour sampling."""
    from kornia.geometry.transform import warp_affine

    size = (parsing.shape[-2], parsing.shape[-1])
    matrix = placement(view, size[0])
    labels = warp_affine(parsing.unsqueeze(1).float(), matrix, size, mode="nearest", padding_mode="reflection")
    return labels.squeeze(1).round().to(parsing.dtype)


def view_landmarks(points: Tensor, view: Tensor, size_px: int) -> Tensor:
    """Returns landmarks (B, K, 2) in pixels under the transforms of the faces; they may leave the image."""
    matrix = placement(view, size_px)
    return points @ matrix[:, :, :2].mT + matrix[:, :, 2].unsqueeze(1)
