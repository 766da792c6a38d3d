"""Weights that the compared methods' authors published, recognised by the names of their tensors.

Each network maps its authors' names to those of this package (`SRNetwork.from_published`), so that a file of KDFSRNet,
SPARNet, DIC, SISN, RCAN, SFMNet or FishFSRNet can be measured under this package's protocol.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from torch import Tensor

from pkdn_lightning import networks
from pkdn_lightning.networks.contract import SRNetwork

Rules = Mapping[str, str | Callable[[re.Match[str]], str] | None]
"""What becomes of a published name: pattern and replacement as in `re.sub`, None where the tensor is dropped."""

# A checkpoint's weights are often one level down.
_NESTED: Final = ("state_dict", "params", "model", "net", "netG", "G", "generator")


class Recognised(NamedTuple):
    """A network whose published weights were recognised.

    Attributes:
        method: Its class.
        network: `_target_` and arguments, as in a configuration.
        weights: Its state dict.
    """

    method: str
    network: dict[str, Any]
    weights: dict[str, Tensor]


def recognise(content: object) -> Recognised | None:
    """Returns the weights in what `torch.load` read from a foreign file, or None if no network's names fit.

    Args:
        content: A state dict, or a mapping that holds one.
    """
    for state in _state_dicts(content):
        for network in _networks():
            found = network.from_published(state)
            if found is not None:
                spec = {"_target_": f"{network.__module__}.{network.__name__}", **found.arguments}
                return Recognised(network.__name__, spec, found.weights)
    return None


def _networks() -> Iterator[type[SRNetwork]]:
    """Yields the networks of this package."""
    for file in pkgutil.iter_modules(networks.__path__, f"{networks.__name__}."):
        for member in vars(importlib.import_module(file.name)).values():
            if isinstance(member, type) and issubclass(member, SRNetwork) and member.__module__ == file.name:
                yield member


def _state_dicts(content: object) -> list[Mapping[str, Tensor]]:
    if not isinstance(content, Mapping):
        return []
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return [content]
    nested = [content[key] for key in _NESTED if key in content]
    return [state for each in nested for state in _state_dicts(each)]


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor] | None:
    """Returns tensors under new names, or None if the names are not what the rules expect.

    Args:
        state: Published names and tensors; `module.` and `model.` before a name do not count.
        rules: The first whose pattern matches the whole name counts. Every name has to match one, and every rule
            that does not drop has to match some name.
    """
    renamed: dict[str, Tensor] = {}
    unmet = {pattern for pattern, replacement in rules.items() if replacement is not None}
    for published, tensor in state.items():
        name = re.sub(r"^((module|model)\.)+", "", published)
        match = next((match for pattern in rules if (match := re.fullmatch(pattern, name))), None)
        if match is None:
            return None
        replacement = rules[match.re.pattern]
        if replacement is not None:
            unmet.discard(match.re.pattern)
            renamed[match.expand(replacement) if isinstance(replacement, str) else replacement(match)] = tensor
    return None if unmet else renamed


def count_modules(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Returns how many different numbers stand in place of `#` at the beginning of the names.

    Example:
        >>> count_modules(dict.fromkeys(["up.0.weight", "up.0.bias", "up.1.weight"]), "up.#.")
        2
    """
    rule = re.compile(re.escape(pattern).replace(r"\#", r"(\d+)"))
    return len({match.group(1) for name in weights if (match := rule.match(name))})
