"""Heatmaps: the prior that DIC and FSRNet learn to estimate, computed on the device for a whole batch.

They are Gaussians around the 68 landmarks, or, for stores with parsing maps only, the five components into which DIC
merges its landmarks (two eyes, nose, mouth, silhouette), derived from the labels.
"""

from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.functional.constants import constant

Heatmaps = Literal["none", "landmarks", "components"]

# For each landmark of the mirrored image, in iBUG order, its index in the original.
_MIRRORED: Final = (
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
)  # fmt: skip
# DIC's order: the eye on the image's left, the one on its right, nose, mouth. The silhouette is computed separately.
_COMPONENTS: Final = (("r_eye",), ("l_eye",), ("nose",), ("mouth", "u_lip", "l_lip"))
_FACE: Final = ("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "mouth", "u_lip", "l_lip")
_BROWS: Final = ("l_brow", "r_brow")


def mirror_landmarks(landmarks: Tensor, width_px: int) -> Tensor:
    """Returns the landmarks of the mirrored images, (B, 68, 2), in iBUG order."""
    swapped = landmarks[:, _indices(_MIRRORED, landmarks.device)]
    return torch.stack([width_px - 1 - swapped[..., 0], swapped[..., 1]], dim=-1)


def landmark_heatmaps(landmarks: Tensor, hr_px: int, size_px: int) -> Tensor:
    """Returns a Gaussian around each landmark, exp(-d^2 / 2) with d in pixels of the heatmap (DIC's targets).

    Coordinates are scaled about pixel centres, so that a mirrored face has mirrored heatmaps; DIC divides the
    coordinates by 4, which shifts them by 0.4 heatmap pixels.

    Args:
        landmarks: (B, K, 2) pixels x, y of the HR face.
        hr_px: Side of the HR face.
        size_px: Side of the heatmaps.

    Returns:
        (B, K, size_px, size_px) float32 in [0, 1].
    """
    grid = torch.arange(size_px, device=landmarks.device, dtype=torch.float32)
    x, y = ((landmarks.float() + 0.5) * (size_px / hr_px) - 0.5).unbind(-1)  # (B, K)
    along_x = torch.exp(-((grid - x.unsqueeze(-1)) ** 2) / 2)  # a 2-D Gaussian is separable
    along_y = torch.exp(-((grid - y.unsqueeze(-1)) ** 2) / 2)
    return along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


def component_heatmaps(labels: Tensor, size_px: int) -> Tensor:
    """Returns five heatmaps derived from label maps: both eyes, nose, mouth, and the silhouette with the brows.

    Args:
        labels: Label ids, (B, H, W).
        size_px: Side of the heatmaps.

    Returns:
        (B, 5, size_px, size_px) float32 in [0, 1]: the fraction of each pixel that the component covers, blurred.
    """
    parts = [_mask(labels, names) for names in _COMPONENTS]
    face = _mask(labels, _FACE)
    kernel = 2 * max(1, labels.shape[-1] // 64) + 1
    dilated = F.max_pool2d(face, kernel, stride=1, padding=kernel // 2)
    eroded = -F.max_pool2d(-face, kernel, stride=1, padding=kernel // 2)
    parts.append((dilated - eroded).maximum(_mask(labels, _BROWS)))
    small = F.interpolate(torch.cat(parts, dim=1), size=(size_px, size_px), mode="area")
    return F.avg_pool2d(small, 3, stride=1, padding=1)


def _mask(labels: Tensor, names: tuple[str, ...]) -> Tensor:
    ids = _indices(tuple(LABELS.index(name) for name in names), labels.device)
    return torch.isin(labels, ids).float().unsqueeze(1)  # (B, 1, H, W)


@constant
def _indices(values: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)
