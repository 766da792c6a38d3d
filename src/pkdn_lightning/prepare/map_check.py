"""Checks what parsing maps mean: maps in another label order have valid numbers and the wrong parts.

In a face, parts lie in a known order: brows above eyes, eyes above the nose, the nose above the mouth, the neck below;
the skin is larger than any part in it and covers the centre. Each relation that can be told from a map holds or not.
On 3,974 maps of CelebA, CelebAMask-HQ, Helen and official portraits at least 98 % of the relations hold in every 64
faces, each of them in more than half of these faces, and no single face breaks the rule below. In BiSeNet's label order
some 60 % hold, upside down 40 %. Exchanged rare labels, such as earring and necklace, cannot be told.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.labels import LABELS, ORDERS
from pkdn_lightning.errors import DataError

_EYES: Final = ("l_eye", "r_eye")
_BROWS: Final = ("l_brow", "r_brow")
_LIPS: Final = ("u_lip", "l_lip")
_BELOW: Final = ("neck", "cloth")
_ABOVE: Final = (
    *((a, b) for a in (*_BROWS, *_EYES, "eye_g") for b in ("nose", "mouth", *_LIPS, *_BELOW)),
    *(("l_brow", "l_eye"), ("r_brow", "r_eye"), ("u_lip", "mouth"), ("mouth", "l_lip"), ("u_lip", "l_lip")),
    *(("nose", b) for b in ("mouth", *_LIPS, *_BELOW)),
    *((a, b) for a in ("skin", "mouth", *_LIPS, "l_ear", "r_ear") for b in _BELOW),
    *(("hair", b) for b in ("mouth", *_LIPS)),
    *(("hat", b) for b in (*_EYES, "eye_g", "nose")),
)
_LEFT: Final = tuple(
    pair
    for part in ("eye", "brow", "ear")
    for pair in ((f"r_{part}", f"l_{part}"), (f"r_{part}", "nose"), ("nose", f"l_{part}"))
)
_LARGER: Final = (
    *(("skin", b) for b in LABELS if b not in ("background", "skin", "hair", "hat", "cloth")),
    *(("hair", b) for b in ("mouth", *_EYES, *_BROWS, *_LIPS)),
    *(("nose", b) for b in (*_EYES, *_BROWS)),
    *(("neck", b) for b in _EYES),
)
_CENTRAL: Final = tuple(("skin", b) for b in ("hair", "hat", *_BELOW, "background"))

_ENOUGH_PX: Final = 64  # larger maps are read at every second pixel, third pixel, ...
_FEW_FACES: Final = 8  # a single relation is judged from this many faces on
_HOLDS_AT_LEAST: Final = 0.4  # share of faces in which a relation holds; real ones: 0.5 (ears of turned heads) to 1
_WRONG_AT_MOST: Final = 0.15  # share of relations that do not hold, in all faces together; real ones: 0.03
_SPARED: Final = 5  # relations that may be wrong besides, in all faces together


class Relations(NamedTuple):
    """The relations between the parts of N faces.

    Attributes:
        told: Whether each can be told, (N, R).
        held: Whether each can be told and holds, (N, R).
        skin: Whether there is skin, (N,).
    """

    told: NDArray[np.bool_]
    held: NDArray[np.bool_]
    skin: NDArray[np.bool_]

    @property
    def fit(self) -> bool:
        """Whether these can be faces."""
        told, held = self.told.sum(0), self.held.sum(0)
        wrong = (told >= _FEW_FACES) & (held < _HOLDS_AT_LEAST * told)
        in_all = int((told - held).sum()) > _SPARED + _WRONG_AT_MOST * int(told.sum())
        return bool(told.any() and self.skin.mean() >= 0.5 and not wrong.any() and not in_all)


def relations(maps: Sequence[NDArray[np.uint8]]) -> Relations:
    """Returns the relations between the parts of faces.

    Args:
        maps: Label ids, (S, S) each, of any one size.
    """
    labels = np.stack([each[:: max(1, len(each) // _ENOUGH_PX), :: max(1, len(each) // _ENOUGH_PX)] for each in maps])
    counts = np.stack([(labels == label).sum(2) for label in range(len(LABELS))], axis=1)  # in each row of the image
    columns = np.stack([(labels == label).sum(1) for label in range(len(LABELS))], axis=1)
    place = np.arange(labels.shape[1])
    area = counts.sum(2)
    y, x = ((each @ place) / np.maximum(area, 1) for each in (counts, columns))
    inner = slice(labels.shape[1] * 3 // 10, max(1, labels.shape[1] * 7 // 10))
    centre = labels[:, inner, inner]
    central = np.stack([(centre == label).sum((1, 2)) for label in range(len(LABELS))], axis=1)
    told, held = [], []
    # Smaller first, so that a pair (a, b) always means that the value of `a` is below that of `b`.
    for value, pairs in ((y, _ABOVE), (x, _LEFT), (-area, _LARGER), (-central, _CENTRAL)):
        for pair in pairs:
            a, b = map(LABELS.index, pair)
            is_told = (area[:, b] > 0) & ((area[:, a] > 0) | (value is not y) & (value is not x))
            told.append(is_told)
            held.append(is_told & (value[:, a] < value[:, b]))
    return Relations(np.stack(told, axis=1), np.stack(held, axis=1), area[:, LABELS.index("skin")] > 0)


def which_fit(maps: Sequence[NDArray[np.uint8]], where: str) -> list[bool]:
    """Returns for each map whether it can be the map of a face.

    Args:
        maps: Label ids, (S, S) each, of one source.
        where: The first of them, for the message.

    Raises:
        DataError: If most are not: the labels have another order, or another meaning.
    """
    found = relations(maps)
    if not found.fit:
        raise DataError(_explained(maps, where))
    return [Relations(*(each[None] for each in one)).fit for one in zip(*found, strict=True)]


def _explained(maps: Sequence[NDArray[np.uint8]], where: str) -> str:
    parts = ", ".join(f"{label} {LABELS[label]}" for label in (1, 2, 4, 10, 13, 17))
    message = (
        f"The {len(maps)} parsing maps from {where} on do not show faces in CelebAMask-HQ's labels ({parts}, ...): "
        "their parts do not lie as those of a face do."
    )
    for order, table in ORDERS.items():
        if relations([np.array(table, dtype=np.uint8)[each] for each in maps]).fit:
            return (
                f"{message}\nThey do in the label order '{order}': type data=folder data.source.labels={order} or, "
                f"with parser=masks, parser.labels={order}"
            )
    return f"{message}\nConvert their labels first. If they are right as they are: check_maps=false"
