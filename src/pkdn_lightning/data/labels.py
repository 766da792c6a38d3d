"""The 19-class face-parsing label set of CelebAMask-HQ: names, colours, mirrored labels. Does not import torch.

`l_*` is the person's left, which lies on the right of the image; mirroring swaps left and right labels (`MIRRORED`).
"""

from typing import Final, Literal, get_args

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
"""8-bit RGB of each class. No paper publishes its palette; any palette of distinct colours works."""


LabelOrder = Literal["celebamask_hq", "bisenet"]
ORDERS: Final[dict[LabelOrder, tuple[int, ...]]] = {
    "celebamask_hq": tuple(range(len(LABELS))),
    "bisenet": (0, 1, 6, 7, 4, 5, 3, 8, 9, 15, 2, 10, 11, 12, 17, 16, 18, 13, 14),
}
"""Orders in which maps number the classes, as tables from their ids to the ids of `LABELS`. `bisenet` is that of the
public BiSeNet weights (zllrunning/face-parsing.PyTorch)."""


def _mirrored() -> tuple[int, ...]:
    swap = {"l_eye": "r_eye", "l_brow": "r_brow", "l_ear": "r_ear"}
    swap |= {right: left for left, right in swap.items()}
    return tuple(LABELS.index(swap.get(name, name)) for name in LABELS)


MIRRORED: Final = _mirrored()
"""`MIRRORED[i]` is the label of class `i` in the mirrored image."""

Encoding = Literal["colour", "onehot", "index"]
ENCODINGS: Final = get_args(Encoding)
Damage = Literal["none", "shuffled", "displaced", "blurred", "other", "empty"]

ENCODING_CHANNELS: Final = {"colour": 3, "onehot": len(LABELS), "index": 1}
"""Channels of a parsing map in each encoding; see `data.parsing.encode`."""

HEATMAP_CHANNELS: Final = {"none": 0, "landmarks": 68, "components": 5}
"""Channels of each kind of heatmaps; see `data.heatmaps`."""
