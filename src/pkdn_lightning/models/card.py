"""The card of a model: plain values in its file that describe the network and its input."""

from dataclasses import asdict
from typing import Any, Final, get_args

from pkdn_lightning.data.labels import ENCODINGS, Damage
from pkdn_lightning.data.strengths import ROUNDS, Strengths
from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.file_schema import check_contents
from pkdn_lightning.functional.modes import MODES
from pkdn_lightning.trust import DOTTED_NAME

CARD_KEY: Final = "pkdn_lightning"
"""Key of the card in checkpoints, safetensors and ONNX files."""

_LARGEST: Final = 65_536  # more channels or blocks than any network has: building them would never end
CARD: Final = {
    "network": {"_target_": str},
    "scale": range(1, 65),
    "encoding": ENCODINGS,
    "degradation": (*MODES, *ROUNDS, DOTTED_NAME),
    "blind?": {
        f"{name}?": [float] if isinstance(value, list) else float for name, value in asdict(Strengths()).items()
    },
    "size_px?": range(1, 8193),
    "experiment?": (str, None),
    "data?": ({"name": str, "sha256": str}, None),
    "parsing_damage?": get_args(Damage),
    "parsing_damage_px?": range(1, 8193),
    "provenance?": (dict, None),
    "loss_db?": float,
}
"""The schema of a card; see `file_schema`. `network` is a class of this package and its arguments;
`loss_db` is what an 8-bit file loses against its original."""


def check_card(card: Any, origin: object) -> dict[str, Any]:
    """Returns a card if it follows its schema.

    Args:
        card: What was read.
        origin: The file it comes from, for the message.

    Raises:
        CheckpointError: If it does not; the message names the first fault.
    """
    where = f"The description of the network in {origin}"
    remedy = "Copy the file again, or write it anew: pkdn export model=<run folder> output=<folder>"
    check_contents(card, CARD, where, CheckpointError, remedy)
    for key, value in card["network"].items():
        if isinstance(value, int) and value > _LARGEST:
            raise CheckpointError(
                f"{where} is damaged: network.{key} is {value}, expected {_LARGEST} or less. {remedy}"
            )
    scale, size_px = card["scale"], card.get("size_px", 0)
    if size_px % scale or card["network"].get("scale", scale) != scale:
        found = f"size_px {size_px}" if size_px % scale else f"a network of scale {card['network']['scale']}"
        raise CheckpointError(f"{where} contradicts itself: scale {scale}, but {found}. {remedy}")
    return dict(card)
