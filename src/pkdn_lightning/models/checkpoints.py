"""Rebuilds networks from checkpoints.

A checkpoint holds, besides Lightning's entries, a *card* of plain values that describes the network, so that the file
alone is sufficient. Files are read with `weights_only=True`, which never executes their content. A card may only name
networks of this package, networks that the program has imported already, and those that the user named (see `trust`).
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.files import file_sha256
from pkdn_lightning.models.card import CARD_KEY as CARD_KEY
from pkdn_lightning.models.card import check_card
from pkdn_lightning.models.checksum import check_checksum
from pkdn_lightning.models.pretrained import DEFAULT, read_pretrained, resolve_checkpoint
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.networks.published_weights import recognise
from pkdn_lightning.trust import find, is_named_by_user, is_trusted

_NETWORKS: Final = "pkdn_lightning.networks."
_PUBLISHED: Final = {"scale": 8, "encoding": "colour", "degradation": "pil", "data": None}  # the same for all


class LoadedNetwork(NamedTuple):
    """A network rebuilt from a checkpoint.

    Attributes:
        net: The network with its weights, in eval mode, on the CPU.
        card: Its description: `network` (target and arguments), `scale`, `encoding`, `degradation`, `experiment`,
            `data` and more.
        path: The checkpoint file.
        sha256: The file's hash.
    """

    net: SRNetwork
    card: Mapping[str, Any]
    path: Path
    sha256: str


def load_model(path: str | Path = DEFAULT) -> SRNetwork:
    """Returns a trained network.

    Args:
        path: A run folder (for its best checkpoint), a checkpoint, a safetensors file or its folder, `owner/name` on
            the Hugging Face hub, or an included model: `default` (x8), `portraits_x8`, `portraits_x4`.

    Returns:
        The network in eval mode; call it with LR faces in [0, 1], (B, 3, H, W), and read `.sr`.

    Raises:
        CheckpointError: If there is nothing to load, or the file is damaged or of another origin.
    """
    return load_network(path).net


def load_network(path: str | Path) -> LoadedNetwork:
    """Returns a trained network with its card and file; see `load_model`."""
    file = resolve_checkpoint(path)
    checkpoint = read_checkpoint(file)
    card, weights = check_card(checkpoint[CARD_KEY], file), network_weights(checkpoint, file)
    with torch.device("meta"):  # a damaged card may describe a network that no memory can hold
        _check_weights(network_from_card(card["network"], file), weights, file)
    net = network_from_card(card["network"], file)
    load_weights(net, weights, file)
    return LoadedNetwork(net.eval(), card, file, file_sha256(file))


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Returns the contents of a checkpoint; published weights of compared methods are returned in the same form.

    Raises:
        CheckpointError: If the file is truncated, could execute code, or belongs to no known network.
    """
    if file.suffix == ".safetensors":
        pretrained = read_pretrained(file)
        return {CARD_KEY: pretrained.card, "state_dict": _prefixed(pretrained.weights)}
    check_checksum(file)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(file):
            raise _unreadable(file) from error
        raise CheckpointError(
            f"{file} holds more than tensors and plain values and was not opened: reading it could run code.\n"
            "Checkpoints of this package never do. If you trust the file, extract its state dict and save that."
        ) from error
    except Exception as error:  # torch's readers raise various errors for files that are no checkpoints
        raise _unreadable(file) from error
    if isinstance(checkpoint, dict) and CARD_KEY in checkpoint and "state_dict" in checkpoint:
        return checkpoint
    try:
        published = recognise(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{file} {error}") from error
    except Exception:  # names of a published network, but other contents
        published = None
    if published is None:
        raise CheckpointError(
            f"{file} is a checkpoint, but neither of this package (it has no '{CARD_KEY}' entry with the "
            "network's description) nor published by the authors of one of its networks."
        )
    card = {"experiment": f"{published.method}, published weights", "network": published.network, **_PUBLISHED}
    return {CARD_KEY: card, "state_dict": _prefixed(published.weights)}


def _is_pickle(file: Path) -> bool:
    """Returns whether a file that torch refused is a pickle or holds one, and not just any file."""
    with file.open("rb") as opened:
        start = opened.read(2)
    return start[:1] == b"\x80" or (start == b"PK" and zipfile.is_zipfile(file))


def _unreadable(file: Path) -> CheckpointError:
    if file.suffix in (".onnx", ".pt2"):
        return CheckpointError(
            f"{file} is an exported program, not weights: only pkdn predict and pkdn demo run it. Give the run, "
            "checkpoint or .safetensors file that it was exported from."
        )
    return CheckpointError(
        f"{file} ({file.stat().st_size:,} bytes) cannot be read: it is truncated or not a checkpoint. Expected a run "
        "folder, a .ckpt or a .safetensors file. Copy it again, or use the other checkpoint of the run (best.ckpt, "
        "last.ckpt)."
    )


def _prefixed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"net.{name}": value for name, value in weights.items()}


def network_weights(checkpoint: Mapping[str, Any], origin: Path) -> dict[str, Tensor]:
    """Returns the network's state dict from a training checkpoint (averaged weights, if averaging was on).

    Raises:
        CheckpointError: If it holds none.
    """
    prefix = "net."
    state: Mapping[str, Tensor] = checkpoint["state_dict"]
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{origin} holds {type(state).__name__} as 'state_dict', which are no weights.")
    state = {str(name): value for name, value in state.items()}
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def network_from_card(spec: Mapping[str, Any], origin: Path) -> SRNetwork:
    """Returns the untrained network that a card describes.

    Args:
        spec: The class in `_target_`; the other entries are its arguments.
        origin: The card's file, for messages.

    Raises:
        CheckpointError: If the class is not trusted, no network, or refuses the arguments.
    """
    target = str(spec.get("_target_", ""))
    network = network_class(target, origin)
    arguments = {key: value for key, value in spec.items() if key != "_target_"}
    try:
        return network(**arguments)
    except Exception as error:  # whatever a constructor raises for arguments that do not fit
        raise CheckpointError(
            f"{origin} describes a network that this version cannot build: {target}({arguments}): {error}."
        ) from error


def network_class(target: str, origin: Path) -> type[SRNetwork]:
    """Returns the network that a file names.

    Args:
        target: Its full name.
        origin: The file, for messages.

    Raises:
        CheckpointError: If it is not trusted, cannot be found, or is no network.
    """
    for imported in _subclasses(SRNetwork):
        if f"{imported.__module__}.{imported.__qualname__}" == target:
            return imported
    package = target.partition(".")[0]
    named = is_named_by_user(target) or (is_trusted(target) and package != "pkdn_lightning")
    if not named and not target.startswith(_NETWORKS):
        raise CheckpointError(
            f"{origin} names the network '{target}'. Only networks of {_NETWORKS}* are built from a file, and your "
            "own: those named in a file of ./conf/model, or imported before load_model.\n"
            f"Work in the folder that it was trained in, whose conf/ names it; in Python, import {package} first. "
            f"Or, in the folder of its module, if you trust it: PKDN_TRUSTED={package} pkdn ..."
        )
    try:
        found = find(target)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{origin} names the network '{target}', which cannot be found: {error}.\n"
            f"Work in the folder of its module; this one, {Path.cwd()}, is searched after Python's own."
        ) from error
    if not (isinstance(found, type) and issubclass(found, SRNetwork)):
        raise CheckpointError(f"{origin} names {target} as its network, which is none.")
    return found


def _subclasses(cls: type[SRNetwork]) -> Iterator[type[SRNetwork]]:
    """Yields the subclasses that have been imported, the newest first: a notebook may define a class again."""
    for each in reversed(cls.__subclasses__()):
        yield each
        yield from _subclasses(each)


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Loads weights into a network, all or none.

    Raises:
        CheckpointError: If names, shapes or types differ, because the weights belong to another network; or if some are
            not finite.
    """
    _check_weights(net, weights, origin)
    for name, value in weights.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"{origin} holds weights that are not finite ('{name}'): the training diverged, or the file is "
                "damaged. Use another checkpoint."
            )
    net.load_state_dict(dict(weights))


def _check_weights(net: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Checks names, shapes and types of weights.

    Raises:
        CheckpointError: If they are not those of the network.
    """
    if foreign := [name for name, value in weights.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(
            f"{origin} holds {type(weights[foreign[0]]).__name__} instead of a tensor as '{foreign[0]}' "
            f"({len(foreign)} of {len(weights)} entries): it is damaged, or no state dict."
        )
    wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != given:
        problems = [f"missing {name}" for name in wanted if name not in given]
        problems += [f"unknown {name}" for name in given if name not in wanted]
        problems += [
            f"{name} is {given[name]}, expected {wanted[name]}"
            for name in wanted
            if name in given and wanted[name] != given[name]
        ]
        shown = "\n  ".join(problems[:4])
        raise CheckpointError(
            f"{origin} holds weights of another network than {type(net).__name__}: {len(problems)} of "
            f"{len(wanted | given)} tensors do not fit.\n  {shown}"
        )
    for name, value in net.state_dict().items():
        given_type = weights[name].dtype
        if given_type.is_floating_point != value.dtype.is_floating_point or given_type.is_complex:
            raise CheckpointError(f"{origin} holds '{name}' as {given_type}, expected {value.dtype}.")
