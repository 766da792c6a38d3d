"""Weights published by the authors of the compared methods, recognised by their tensor names.

Each network maps its authors' names to this package's (`SRNetwork.from_published`), so that the weights of KDFSRNet,
SPARNet, DIC, SISN, RCAN, SFMNet and FishFSRNet can be evaluated under this package's protocol.
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
"""Patterns and replacements of published names, as in `re.sub`; None drops the tensor."""

# Keys under which checkpoints nest their weights.
_NESTED: Final = ("state_dict", "params", "model", "net", "netG", "G", "generator")


class Recognised(NamedTuple):
    """A network whose published weights were recognised.

    Attributes:
        method: Name of its class.
        network: `_target_` and arguments, as in a configuration.
        weights: Its state dict.
    """

    method: str
    network: dict[str, Any]
    weights: dict[str, Tensor]


def recognise(content: object) -> Recognised | None:
    """Returns the published weights in the content of a checkpoint file, or None if no network's names match.

    Args:
        content: Result of `torch.load`: a state dict, a mapping that contains one, or one state dict for each part of
            a network that was published in parts, by the part's name.

    Raises:
        CheckpointError: If the content is one of several parts of a network; see `SRNetwork.from_published`.
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
    if content and not nested and all(isinstance(part, Mapping) for part in content.values()):
        nested = [{f"{name}.{bare(key)}": value for name, part in content.items() for key, value in part.items()}]
    return [state for each in nested for state in _state_dicts(each)]


def bare(name: str) -> str:
    """Returns a tensor's name without the prefixes of wrappers."""
    return re.sub(r"^((module|model)\.)+", "", name)


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor] | None:
    """Returns tensors under new names, or None if the names do not match the rules.

    Args:
        state: Published names and tensors; the prefixes `module.` and `model.` are ignored.
        rules: The first rule whose pattern matches the whole name applies. Every name has to match a rule, and every
            rule with a replacement has to match a name.
    """
    renamed: dict[str, Tensor] = {}
    unused = {pattern for pattern, replacement in rules.items() if replacement is not None}
    for published, tensor in state.items():
        name = bare(published)
        match = next((match for pattern in rules if (match := re.fullmatch(pattern, name))), None)
        if match is None:
            return None
        replacement = rules[match.re.pattern]
        if replacement is not None:
            unused.discard(match.re.pattern)
            renamed[match.expand(replacement) if isinstance(replacement, str) else replacement(match)] = tensor
    return None if unused else renamed


def count_modules(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Returns how many different numbers replace `#` in the names that begin with the pattern.

    Example:
        >>> count_modules(dict.fromkeys(["up.0.weight", "up.0.bias", "up.1.weight"]), "up.#.")
        2
    """
    rule = re.compile(re.escape(pattern).replace(r"\#", r"(\d+)"))
    return len({match.group(1) for name in weights if (match := rule.match(name))})
