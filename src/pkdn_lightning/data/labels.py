"""The 19-class face-parsing label set: names, colours, mirrored labels. Plain values: reading them needs no torch.

Labels follow CelebAMask-HQ. `l_*` is the person's left, which lies on the right of the image, so a mirrored
image needs its left and right labels swapped: `MIRRORED` says how.
"""

from typing import Final

LABELS: Final = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""Class names; a class's id is its position."""

PALETTE: Final = (
    (0, 0, 0), (204, 0, 0), (76, 153, 0), (204, 204, 0), (51, 51, 255), (204, 0, 204), (0, 255, 255),
    (255, 204, 204), (102, 51, 0), (255, 0, 0), (102, 204, 0), (255, 255, 0), (0, 0, 153), (0, 0, 204),
    (255, 51, 153), (0, 204, 204), (0, 51, 0), (255, 153, 51), (0, 204, 0),
)  # fmt: skip
"""8-bit RGB of each class. No paper publishes its palette; any that keeps the classes apart will do."""


def _mirrored() -> tuple[int, ...]:
    swap = {"l_eye": "r_eye", "l_brow": "r_brow", "l_ear": "r_ear"}
    swap |= {right: left for left, right in swap.items()}
    return tuple(LABELS.index(swap.get(name, name)) for name in LABELS)


MIRRORED: Final = _mirrored()
"""`MIRRORED[i]` is the label that class `i` takes in the mirrored image."""
