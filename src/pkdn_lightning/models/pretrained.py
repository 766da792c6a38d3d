"""Models outside a run folder, on disk and on the Hugging Face hub.

    model.safetensors   the weights, with the card in the header
    config.json         the card: the network and the format of its input
    README.md           the model card (`hub`)

A single `NAME.safetensors` works too, with the card in its header or in `NAME.json` beside it. Neither format can hold
code, so files from untrusted sources can be read.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pkdn_lightning.errors import CheckpointError, did_you_mean
from pkdn_lightning.files import whole_file, write_json
from pkdn_lightning.models.card import CARD_KEY, check_card
from pkdn_lightning.models.checksum import check_checksum, safetensors_with_checksum
from pkdn_lightning.runs import RunFolder, open_run

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
DEFAULT: Final = "default"
"""Another name of the included x8 model; `predict` and `demo` take it for all included ones."""
_DEFAULT_MODEL: Final = "portraits_x8"
_INCLUDED: Final = Path(__file__).with_name("included")

_HUB_ID: Final = re.compile(r"(?:hf://)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


class Pretrained(NamedTuple):
    """The contents of a safetensors file.

    Attributes:
        card: See `checkpoints.LoadedNetwork`.
        weights: The network's state dict.
    """

    card: Mapping[str, Any]
    weights: Mapping[str, "Tensor"]


def write_pretrained(folder: str | Path, card: Mapping[str, Any], weights: Mapping[str, "Tensor"]) -> Path:
    """Writes weights and card into a folder, and returns the weights file.

    Raises:
        CheckpointError: If the folder already holds weights, or cannot be written.
    """
    from safetensors.torch import save

    file = Path(folder, WEIGHTS)
    if file.exists():
        raise CheckpointError(f"{file} exists already and was not changed. Give another folder, or remove it first.")
    try:
        # safetensors does not accept tensors that share storage.
        plain = {name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}
        with whole_file(file) as temporary:
            content = save(plain, metadata={"format": "pt", CARD_KEY: json.dumps(card)})
            temporary.write_bytes(safetensors_with_checksum(content))
        write_json(Path(folder, CONFIG), {"library_name": "pkdn-lightning", **card})
    except OSError as error:
        raise CheckpointError(f"The model cannot be written to {folder}: {error.strerror or error}.") from error
    return file


def read_pretrained(file: Path) -> Pretrained:
    """Returns the contents of a safetensors file of this package.

    Raises:
        CheckpointError: If the file is damaged, is not a safetensors file, or has no valid card.
    """
    from safetensors import SafetensorError, safe_open

    check_checksum(file)
    try:
        with safe_open(file, framework="pt") as opened:
            header: Mapping[str, str] = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: it is truncated or not a safetensors file ({error}).") from error
    card = _parsed(header[CARD_KEY], file) if CARD_KEY in header else _card_beside(file)
    return Pretrained(card, weights)


def _card_beside(file: Path) -> dict[str, Any]:
    for config in (file.with_suffix(".json"), file.with_name(CONFIG)):
        if config.is_file():
            return _parsed(config.read_text(encoding="utf-8", errors="replace"), config)
    raise CheckpointError(
        f"{file} holds weights, but no description of their network: expected the entry '{CARD_KEY}' in its header, "
        f"or {CONFIG} beside it."
    )


def _parsed(text: str, origin: Path) -> dict[str, Any]:
    try:
        card = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"The description of the network in {origin} is not valid JSON: {error}.") from error
    return check_card(card, origin)


def resolve_checkpoint(path: str | Path) -> Path:
    """Returns the weights file of a run folder, file name or model name.

    Raises:
        CheckpointError: If there is none.
    """
    name, path = str(path), Path(path).expanduser()
    if not name:
        raise CheckpointError("No model is named. Give a run folder, a file, owner/name on the hub, or default.")
    if path.is_file():
        return path
    pretrained = find_pretrained(name if not path.exists() else str(path))
    if pretrained is not None:
        return pretrained
    if not path.exists():
        raise CheckpointError(
            f"No run folder and no checkpoint at {path}.{did_you_mean(name, included_models())}\n"
            f"Included models: {', '.join(included_models())}"
        )
    exported = sorted(file for suffix in (".onnx", ".pt2") for file in path.glob(f"*{suffix}"))
    if exported and not RunFolder(path).config.is_file():
        if len(exported) == 1:
            return exported[0]
        names = ", ".join(file.name for file in exported)
        raise CheckpointError(f"{path} holds {names}. Name one of them: model={exported[0]}")
    run = open_run(path)
    for file in (run.best, run.last):
        if file.is_file():
            return file
    raise CheckpointError(f"The run {path} has no checkpoint yet: neither best.ckpt nor last.ckpt.")


def find_pretrained(name: str) -> Path | None:
    """Returns the weights file of a named model, or None if the name is of another kind.

    Args:
        name: `default` or the name of another included model; a folder with `model.safetensors`; or `owner/name` on
            the hub, with an optional `@revision` and an optional `hf://` to distinguish it from a path.

    Raises:
        CheckpointError: If no model is included, or the hub does not provide the named one.
    """
    included = included_models()
    if name in included:
        return included[name]
    if name == DEFAULT:
        raise CheckpointError(
            "This installation includes no trained model. Set model=<run folder, checkpoint, or owner/name on the "
            "Hugging Face hub>.\nTo train one in minutes: pkdn train experiment=demo"
        )
    path = Path(name)
    if path.is_dir():
        return path / WEIGHTS if (path / WEIGHTS).is_file() else None
    if re.match(r"https?://", name):
        raise CheckpointError(
            f"{name} is a URL; expected a run folder, a file, or a name on the hub (owner/name).\n"
            "Download it first: curl -LO <url>"
        )
    found = _HUB_ID.fullmatch(name)
    # `runs/mistyped` also matches a hub id; if there is a folder `runs`, it is a path.
    if found is None or not (name.startswith("hf://") or not (path.exists() or path.parent.exists())):
        return None
    return fetch(found["repo"], found["revision"])


def included_models() -> dict[str, Path]:
    """Returns the files of the models that come with the package, by their names."""
    return {**_models_in(_INCLUDED)}


@cache
def _models_in(folder: Path) -> dict[str, Path]:
    found = {file.stem: file for file in sorted(folder.glob("*_x*")) if file.suffix in (".safetensors", ".onnx")}
    x8 = [found[name] for name in (_DEFAULT_MODEL, *found) if name in found and name.endswith("_x8")]
    return {DEFAULT: x8[0], **found} if x8 else found


def fetch(repo: str, revision: str | None = None) -> Path:
    """Returns the weights of a model on the hub, downloaded once and then read from the cache.

    Raises:
        CheckpointError: If the model does not exist, is not accessible, or is not cached and there is no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=[WEIGHTS, CONFIG, "README.md"])
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"'{repo}' is neither a path nor in the hub's cache, and the hub cannot be reached.\n"
            "Check the path, connect to the network, or give the folder of a copy: model=<folder>"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"'{repo}' is not a path, and the hub does not provide it: {reason}\nA private or gated model "
            "needs `hf auth login`."
        ) from error
    file = Path(folder, WEIGHTS)
    if not file.is_file():
        raise CheckpointError(f"'{repo}' on the hub has no {WEIGHTS}: it is not a model of this package.")
    return file
