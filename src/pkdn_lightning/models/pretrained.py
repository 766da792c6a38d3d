"""Models outside a run folder: weights as safetensors, what they are as JSON, on disk and on the Hugging Face hub.

    model.safetensors   the weights; its header carries the card
    config.json         the card: which network the weights belong to, and how faces are fed to it
    README.md           the model card, for people (`hub`)

A lone `NAME.safetensors` works too, with the card in its header or in `NAME.json` beside it. Neither format can hold
code, so files of strangers may be read.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.files import whole_file, write_json

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
CARD_KEY: Final = "pkdn_lightning"
"""Where a file keeps its card: checkpoints, safetensors and ONNX alike."""

DEFAULT: Final = "default"
"""What stands for the model that comes with the package."""

_HUB_ID: Final = re.compile(r"(?:hf://)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


class Pretrained(NamedTuple):
    """What a safetensors file holds.

    Attributes:
        card: `network` (target and arguments), `scale`, `encoding`, `degradation`, `experiment`, `data` and more.
        weights: The network's state dict.
    """

    card: Mapping[str, Any]
    weights: Mapping[str, Tensor]


def write_pretrained(folder: str | Path, card: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Path:
    """Writes weights and card into a folder, and returns the file of the weights.

    Raises:
        CheckpointError: If there are weights already: nothing is ever overwritten.
    """
    file = Path(folder, WEIGHTS)
    if file.exists():
        raise CheckpointError(f"{file} exists already and is left as it is. Give another folder, or remove it first.")
    try:
        # Equal storage may be shared between names; safetensors wants each tensor on its own.
        plain = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
        with whole_file(file) as temporary:
            temporary.write_bytes(save(plain, metadata={"format": "pt", CARD_KEY: json.dumps(card)}))
        write_json(Path(folder, CONFIG), {"library_name": "pkdn-lightning", **card})
    except OSError as error:
        raise CheckpointError(f"The model cannot be written to {folder}: {error.strerror or error}.") from error
    return file


def read_pretrained(file: Path) -> Pretrained:
    """Returns what a safetensors file of this package holds.

    Raises:
        CheckpointError: If the file is truncated, is no safetensors file, or says nowhere which network it is for.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            header: Mapping[str, str] = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} cannot be read: it is truncated, or is no safetensors file whatever its name says ({error})."
        ) from error
    card = _parsed(header[CARD_KEY], file) if CARD_KEY in header else _card_beside(file)
    return Pretrained(card, weights)


def _card_beside(file: Path) -> dict[str, Any]:
    for config in (file.with_suffix(".json"), file.with_name(CONFIG)):
        if config.is_file():
            return _parsed(config.read_text(encoding="utf-8", errors="replace"), config)
    raise CheckpointError(
        f"{file} holds weights, but says nowhere which network they belong to: expected the entry '{CARD_KEY}' in its "
        f"header, or {CONFIG} beside it."
    )


def _parsed(text: str, origin: Path) -> dict[str, Any]:
    try:
        card = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"What {origin} says about its network is no JSON: {error}.") from error
    if not isinstance(card, dict) or not isinstance(card.get("network"), dict):
        raise CheckpointError(f"{origin} does not say which network its weights belong to: it has no entry 'network'.")
    return card


def find_pretrained(name: str) -> Path | None:
    """Returns the weights that a name stands for, or None if it is none of `default`, a folder, or a hub id.

    Args:
        name: `default`; a folder with `model.safetensors`; `owner/name` on the hub, with `@revision` if one is meant
            and `hf://` before it where it could be taken for a path.

    Raises:
        CheckpointError: If the package brings no model, or the hub cannot give it.
    """
    if name == DEFAULT:
        return default_model()
    path = Path(name)
    if path.is_dir():
        return path / WEIGHTS if (path / WEIGHTS).is_file() else None
    if re.match(r"https?://", name):
        raise CheckpointError(
            f"{name} is a URL; a model is a run folder, a file, or a name on the hub (owner/name).\n"
            "Download it first: curl -LO <url>"
        )
    found = _HUB_ID.fullmatch(name)
    # `runs/mistyped` looks like a hub id as well; where there is a folder `runs`, the path was meant.
    if found is None or not (name.startswith("hf://") or not (path.exists() or path.parent.exists())):
        return None
    return fetch(found["repo"], found["revision"])


def default_model() -> Path:
    """Returns the weights that come with the package.

    Raises:
        CheckpointError: If none do.
    """
    folder = Path(__file__).parent
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise CheckpointError(
            "This installation brings no trained model. Name one: model=<run folder, checkpoint, or owner/name on the "
            "Hugging Face hub>.\nTo train one in minutes: pkdn train experiment=demo"
        )
    return found[0]


def fetch(repo: str, revision: str | None = None) -> Path:
    """Returns the weights of a model on the hub, downloaded once and then read from the cache.

    Raises:
        CheckpointError: If there is no such model, it may not be read, or there is neither network nor a cached copy.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=[WEIGHTS, CONFIG, "README.md"])
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"'{repo}' is neither a path here nor in the hub's cache, and the hub cannot be reached.\n"
            "Check the path, or connect once; with a copy on disk give its folder: model=<folder>"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"'{repo}' is no path here, and the hub does not give it: {reason}\nA private or gated model needs "
            "`hf auth login`."
        ) from error
    file = Path(folder, WEIGHTS)
    if not file.is_file():
        raise CheckpointError(f"'{repo}' on the hub has no {WEIGHTS}: it is no model of this package.")
    return file
