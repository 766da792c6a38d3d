"""The interface of the networks: base class, output type and input checks."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, DataError, ShapeError


class SROutput(NamedTuple):
    """The result of a forward pass.

    Attributes:
        sr: Restored faces, (B, 3, H * scale, W * scale), nominally in [0, 1] but not clamped.
        features: Intermediate features in order of computation. Distillation matches them by name.
        extras: Other predictions (heatmaps, parsing maps, earlier iterations) by name.
    """

    sr: Tensor
    features: dict[str, Tensor] = {}  # noqa: RUF012  # never mutated, here and below
    extras: dict[str, Tensor] = {}  # noqa: RUF012


class PublishedWeights(NamedTuple):
    """Weights published by a method's authors, under this package's names.

    Attributes:
        weights: State dict of the network.
        arguments: Constructor arguments of the network where they differ from the defaults.
    """

    weights: dict[str, Tensor]
    arguments: dict[str, Any] = {}  # noqa: RUF012


class SRNetwork(nn.Module):
    """Base class of all face super-resolution networks that this package trains.

    `forward(lr)`, or `forward(lr, parsing)` if `uses_parsing` is set, takes LR faces (B, 3, H, W) in [0, 1] and encoded
    parsing maps (B, P, H * scale, W * scale), and returns an `SROutput`. The arguments of the constructor are plain
    values, so that a checkpoint can describe the network.

    Attributes:
        scale: Enlargement from LR to HR.
        uses_parsing: Whether the network reads the parsing map of the HR face, as teachers do.
        compiled_blocks: Classes of the blocks that `module.compile=true` compiles, each once for every shape of its
            input; the whole network if there are none. A network that repeats large blocks is compiled several times
            faster by them.
        parsing_channels: Channels P of the encoded parsing maps that it reads.
    """

    uses_parsing: ClassVar[bool] = False
    compiled_blocks: ClassVar[tuple[type[nn.Module], ...]] = ()
    scale: int
    parsing_channels: int = 3
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Records the arguments for `spec`."""
        net = super().__new__(cls)
        net.__dict__["_made_with"] = args, kwargs
        return net

    @property
    def spec(self) -> dict[str, Any]:
        """What a checkpoint describes the network by: its class as `_target_`, and the arguments it was made with.

        Raises:
            ConfigError: If an argument is not made of plain values.
        """
        cls, (args, kwargs) = type(self), self._made_with
        signature = inspect.signature(cls.__init__)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments |= arguments.pop(name)
        for name, value in arguments.items():
            if not _is_plain(value):
                raise ConfigError(
                    f"{cls.__name__}({name}=...) is a {type(value).__name__}. A checkpoint describes a network by "
                    "plain values: numbers, text, true, false, null, lists and mappings. Give the constructor such a "
                    "value, e.g. the name of a class, and make the object there."
                )
        return {"_target_": f"{cls.__module__}.{cls.__qualname__}", **{k: _listed(v) for k, v in arguments.items()}}

    def inputs(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Returns the arguments of `forward` from a batch: `lr`, and `parsing` if the network reads it.

        Raises:
            DataError: If the batch lacks one.
        """
        names = ("lr", "parsing") if self.uses_parsing else ("lr",)
        require_keys(batch, names, type(self).__name__)
        return tuple(batch[name] for name in names)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Converts a state dict published by the method's authors; returns None if it belongs to another network.

        Networks with published weights override this method.

        Raises:
            CheckpointError: If it is one of several parts that the authors publish apart; the message goes on after the
                file's name and says how to join them.
        """
        return None


def require_keys(batch: Any, names: Iterable[str], reader: str) -> None:
    """Checks that a batch is a mapping with the keys that `reader` reads.

    Raises:
        DataError: If it is not.
    """
    if not isinstance(batch, Mapping):
        kinds = ", ".join(type(each).__name__ for each in batch) if isinstance(batch, list | tuple) else ""
        raise DataError(
            f"{reader} reads batches that are mappings, e.g. {{'lr': ..., 'hr': ...}}; the loader gives a "
            f"{type(batch).__name__}{f' of {kinds}' if kinds else ''}."
        )
    if missing := [name for name in names if name not in batch]:
        raise DataError(f"{reader} reads '{missing[0]}', which the batch lacks; it has {', '.join(map(str, batch))}.")


def require_output(net: SRNetwork, output: Any, lr: Tensor) -> SROutput:
    """Returns what a forward pass returned, if it is an `SROutput` with faces of the right size.

    Raises:
        ConfigError: If it is something else.
        ShapeError: If the faces have another size or number of channels.
    """
    name = type(net).__name__
    if not isinstance(output, SROutput):
        raise ConfigError(f"{name}.forward returned a {type(output).__name__}; expected: return SROutput(sr)")
    expected = (lr.shape[0], 3, lr.shape[-2] * net.scale, lr.shape[-1] * net.scale)
    if tuple(output.sr.shape) != expected:
        raise ShapeError(
            f"{name}.forward made SR {tuple(output.sr.shape)} of LR {tuple(lr.shape)}; scale={net.scale} needs "
            f"{expected}."
        )
    return output


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _listed(value: Any) -> Any:
    """Returns a plain value with lists instead of tuples, as files hold it."""
    if isinstance(value, Mapping):
        return {key: _listed(each) for key, each in value.items()}
    return [_listed(each) for each in value] if isinstance(value, list | tuple) else value


def require_image(lr: Tensor, *, scale: int, multiple: int) -> None:
    """Checks that `lr` has shape (B, 3, H, W), with `H * scale` and `W * scale` divisible by `multiple`.

    Raises:
        ShapeError: If the rank, the channel count or a side is wrong.
    """
    if lr.ndim != 4 or lr.shape[1] != 3:
        raise ShapeError(f"Expected LR faces of shape (B, 3, H, W), got {tuple(lr.shape)}.")
    height, width = lr.shape[-2] * scale, lr.shape[-1] * scale
    if height % multiple or width % multiple:
        raise ShapeError(
            f"LR {lr.shape[-2]}x{lr.shape[-1]} enlarged x{scale} is {height}x{width}, but the sides have to be "
            f"divisible by {multiple}. Crop or pad the image, or use a network with fewer levels."
        )


def require_size(images: Tensor, size_px: int) -> None:
    """Checks that the input of a discriminator has shape (B, 3, size_px, size_px).

    Raises:
        ShapeError: If it has another shape.
    """
    if tuple(images.shape[1:]) != (3, size_px, size_px):
        raise ShapeError(
            f"Expected images of shape (B, 3, {size_px}, {size_px}), got {tuple(images.shape)}. Set the "
            "discriminator's size_px to their side."
        )
