"""Features of networks that return none: the outputs of their layers, by name."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.networks.contract import SROutput


class Taps:
    """Adds the outputs of layers to a network's features.

    Args:
        net: The network.
        layers: Paths of layers by the name of the feature, e.g. `{"d3": "body.2"}`; see `net.named_modules()`.

    Raises:
        ConfigError: If the network has no such layer.
    """

    def __init__(self, net: nn.Module, layers: Mapping[str, str]) -> None:
        self._found: dict[str, Tensor] = {}
        known = {path: layer for path, layer in net.named_modules() if path}
        for name, path in layers.items():
            if path not in known:
                first = ", ".join(list(known)[:12])
                raise ConfigError(
                    f"features.{name}={path}: {type(net).__name__} has no such layer.{did_you_mean(path, known)}\n"
                    f"There are: {first}{', ...' if len(known) > 12 else ''}"
                )
            known[path].register_forward_hook(partial(self._keep, name, path))

    def add_to(self, output: SROutput) -> SROutput:
        """Returns an output with the features of the layers; called after each forward pass."""
        features = {**output.features, **self._found}
        self._found.clear()  # a module with tensors of a graph cannot be copied
        return output._replace(features=features)

    def _keep(self, name: str, path: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ConfigError(
                f"features.{name}={path}: the layer returns {_shown(output)}; a feature is a tensor (B, C, H, W)."
            )
        self._found[name] = output


def _shown(output: Any) -> str:
    return f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
