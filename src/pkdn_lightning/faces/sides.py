"""Left and right in parsing maps, decided by position."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.labels import LABELS

_NOSE: Final = LABELS.index("nose")
_MOUTH: Final = tuple(LABELS.index(name) for name in ("mouth", "u_lip", "l_lip"))
_PAIRS: Final = tuple((LABELS.index(f"l_{part}"), LABELS.index(f"r_{part}")) for part in ("eye", "brow", "ear"))


def repair_sides(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a map whose eyes, brows and ears have the label of the side of the face on which they lie.

    BiSeNet confuses left and right on every third face. Here the position decides: the face's axis runs from the
    mouth's centre through the bridge of the nose, and `l_*` is what lies to its right in an upright image. Tilted faces
    and profiles work, too. On CelebAMask-HQ's val faces this raises the mean IoU from 0.690 to 0.720, although the
    ground truth itself has sides swapped in every twelfth face.

    Args:
        labels: Label ids in the order of `LABELS`, (S, S).

    Returns:
        The same shape and type. Without a nose there is no axis, and nothing changes.
    """
    nose = np.argwhere(labels == _NOSE)  # (N, 2): row, column
    repaired = labels.copy()
    if not len(nose):
        return repaired
    mouth = np.argwhere(np.isin(labels, _MOUTH))
    up = _direction(mouth, nose)
    height = nose @ up
    # The upper quarter, between the eyes: of a turned face the tip hides one side, or is the outline.
    bridge = nose[height >= height.max() - (height.max() - height.min()) / 4]
    row_up, column_up = _direction(mouth, bridge)
    row, column = bridge.mean(0)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    right_of_axis = column_up * (rows - row) - row_up * (columns - column) > 0
    for left, right in _PAIRS:
        pair = (labels == left) | (labels == right)
        repaired[pair] = np.where(right_of_axis, left, right)[pair]
    return repaired


def _direction(mouth: NDArray[np.int64], nose: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the vector (rows, columns) from mouth to nose; straight up where there is no mouth to tell."""
    up = nose.mean(0) - mouth.mean(0) if len(mouth) else np.zeros(2)
    return up if np.abs(up).max() >= 1 else np.array([-1.0, 0.0])
