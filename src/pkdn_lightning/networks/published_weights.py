"""Weights that the compared methods' authors published, recognised by the names of their tensors.

Each method's file maps its public names to those of this package (`rename_published`, whose docstring is the map). So a
file of KDFSRNet, SPARNet, DIC, SISN, RCAN, SFMNet or FishFSRNet can be measured under this package's protocol.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from torch import Tensor

from pkdn_lightning.networks import dic, fishfsrnet, kdfsrnet, rcan, sfmnet, sisn, sparnet

Rename = Callable[[Mapping[str, Tensor]], dict[str, Tensor] | None]

# A checkpoint's weights are often one level down.
_NESTED: Final = ("state_dict", "params", "model", "net", "netG", "G", "generator")


class Published(NamedTuple):
    """Weights of a known method.

    Attributes:
        method: Its name.
        network: Class and arguments of its network, as in a configuration.
        weights: State dict of that network.
    """

    method: str
    network: dict[str, Any]
    weights: dict[str, Tensor]


def recognise(content: object) -> Published | None:
    """Returns the weights in what `torch.load` read from a foreign file, or None if no method's names fit.

    Args:
        content: A state dict, or a mapping that holds one.
    """
    for state in _state_dicts(content):
        for method, (network, rename) in _METHODS.items():
            weights = rename(state)
            if weights is not None:
                return Published(method, _spec(network, weights), weights)
    return None


_METHODS: Final[dict[str, tuple[str, Rename]]] = {
    "KDFSRNet": ("kdfsrnet.KDFSRNetStudent", kdfsrnet.rename_published),
    "SPARNet": ("sparnet.SPARNet", sparnet.rename_published),
    "DIC": ("dic.DIC", dic.rename_published),
    "SISN": ("sisn.SISN", sisn.rename_published),
    "RCAN": ("rcan.RCAN", rcan.rename_published),
    "SFMNet": ("sfmnet.SFMNet", sfmnet.rename_published),
    "FishFSRNet": ("fishfsrnet.FishFSRNet", fishfsrnet.rename_published),
}


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """Returns how many different numbers stand in place of `#` at the beginning of the names."""
    rule = re.compile(re.escape(pattern).replace(r"\#", r"(\d+)"))
    return len({match.group(1) for name in weights if (match := rule.match(name))})


# What a file says about the size of its network: several were published in more than one.
_OPTIONS: Final[dict[str, Callable[[Mapping[str, Tensor]], dict[str, Any]]]] = {
    "sparnet.SPARNet": lambda weights: {
        "res_depth": _count(weights, "body.#."),
        "attention": "spar" if weights["up.2.attention.gate.conv.weight"].shape[0] == 1 else "spar3d",
    },
    "rcan.RCAN": lambda weights: {
        "scale": 2 ** _count(weights, "up.#."),
        "groups": _count(weights, "groups.#."),
        "blocks": _count(weights, "groups.0.blocks.#."),
    },
    "sisn.SISN": lambda weights: {
        "scale": 2 ** _count(weights, "up.#."),
        "groups": _count(weights, "groups.#."),
        "blocks": _count(weights, "groups.0.blocks.#."),
    },
    "sfmnet.SFMNet": lambda weights: {"shared_attention": True},
}


def _spec(network: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    if network == "kdfsrnet.KDFSRNetStudent" and weights["head.weight"].shape[1] != 3:  # the parsing map joins there
        network = "kdfsrnet.KDFSRNetTeacher"
    spec: dict[str, Any] = {"_target_": f"pkdn_lightning.networks.{network}"}
    options = _OPTIONS.get(network)
    return spec if options is None else spec | options(weights)


def _state_dicts(content: object) -> list[Mapping[str, Tensor]]:
    if not isinstance(content, Mapping):
        return []
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return [content]
    nested = [content[key] for key in _NESTED if key in content]
    return [state for each in nested for state in _state_dicts(each)]
