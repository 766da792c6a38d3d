"""Which values a key of the configuration accepts: its type, and a range or a choice annotated to it.

Keys of the schema and arguments of the classes that configurations name are annotated with the types below, and `check`
is the only place that compares them with what was given. To everything else, `Count` is `int`.

Example:
    >>> check("data.batch_size", 0, Count)
    Traceback (most recent call last):
    pkdn_lightning.errors.ConfigError: data.batch_size=0: expected a whole number, 1 or more.
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.trust import DOTTED_NAME


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` to `most`.

    Attributes:
        least: Smallest number.
        most: Largest number.
        above: Excludes `least` itself.
        besides: A number outside the range that is accepted, too, e.g. -1 for no limit.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    besides: float | None = None

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, int | float):
            return True  # a word such as `auto`, which the type accepts
        inside = value > self.least if self.above else value >= self.least
        return value == self.besides or (inside and value <= self.most and math.isfinite(value))

    def __str__(self) -> str:
        least = f"above {self.least:g}" if self.above else f"{self.least:g}"
        if math.isinf(self.least):
            words = "finite"
        elif math.isinf(self.most):
            words = least if self.above else f"{least} or more"
        else:
            words = f"{least} to {self.most:.10g}"
        return words if self.besides is None else f"{words}, or {self.besides:g}"


@dataclass(frozen=True)
class Odd(Range):
    """The odd whole numbers from `least` to `most`."""

    def __contains__(self, value: Any) -> bool:
        return super().__contains__(value) and (not isinstance(value, int) or value % 2 == 1)

    def __str__(self) -> str:
        return f"odd, {super().__str__()}"


@dataclass(frozen=True)
class Interval(Range):
    """Lists of two numbers from `least` to `most`, the smaller one first."""

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, list | tuple):
            return True  # an interpolation, or another type, which is refused as such
        numbers = [each for each in value if isinstance(each, int | float) and not isinstance(each, bool)]
        inside = len(value) == len(numbers) == 2 and all(super(Interval, self).__contains__(each) for each in numbers)
        return inside and numbers[0] <= numbers[1]

    def __str__(self) -> str:
        return f"[smallest, largest], each {super().__str__()}"


class OneOf(tuple[str, ...]):
    """The words that are accepted; the schema has it in place of `Literal`, which OmegaConf does not know."""

    __slots__ = ()

    def __new__(cls, *words: str) -> Self:
        """Returns the choice of some words."""
        return super().__new__(cls, words)


class OneOfOrName(OneOf):
    """The words that are accepted, or the full name of a function of the user's."""

    __slots__ = ()

    def __contains__(self, value: Any) -> bool:
        return super().__contains__(value) or (isinstance(value, str) and DOTTED_NAME.fullmatch(value) is not None)


@dataclass(frozen=True)
class FileName:
    """Marks the name of a file or folder, which the command line takes as it is typed, whatever characters it holds.

    Attributes:
        in_mapping: Whether the key is a mapping whose values are names of files.
        keys: The keys of such a mapping that hold them; all if empty.
    """

    in_mapping: bool = False
    keys: tuple[str, ...] = ()


Number = Annotated[float, Range()]
Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Change = Annotated[float, Range(0, 0.9)]
Turn = Annotated[float, Range(0, 180)]
Side = Annotated[int, Range(8, 4096)]
Threads = Annotated[int, Range(1, 1024)]
Limit = Annotated[int, Range(1, besides=-1)]
File = Annotated[str, FileName()]
Degradation = Annotated[str, OneOfOrName("pil", "matlab", "blind", "blind2")]
Files = Annotated[dict[str, str], FileName(in_mapping=True)]


def check(key: str, value: Any, hint: Any) -> None:
    """Checks a value against the type of its key.

    Raises:
        ConfigError: If the value is of another type, out of range, or none of the choices.
    """
    if not _accepts(hint, value):
        suggestion = did_you_mean(value, _words(hint)) if isinstance(value, str) else ""
        raise ConfigError(f"{key}={value}: expected {describe(hint)}.{suggestion}")


def describe(hint: Any) -> str:
    """Returns in words what a type accepts.

    Example:
        >>> describe(Count | None)
        'a whole number, 1 or more, or null'
    """
    kind, limits = split(hint)
    if _is_union(kind):
        name = ", or ".join(describe(option) for option in typing.get_args(kind))
    elif words := list(_words(hint)):
        name = f"{'one of ' * (len(words) > 1)}{', '.join(words)}"
        name += ", or module.function" * any(isinstance(limit, OneOfOrName) for limit in limits)
    elif kind is not str and _is_sequence(typing.get_origin(kind) or kind):
        name = f"a list ({describe((*typing.get_args(kind), Any)[0])})"
    else:
        name = _NAMES.get(kind, getattr(kind, "__name__", str(kind)))
    return ", ".join([name, *(str(limit) for limit in limits if isinstance(limit, Range))])


def marks(hint: Any) -> tuple[Any, ...]:
    """Returns what a type is annotated with."""
    kind, own = split(hint)
    if _is_union(kind):
        return (*own, *(mark for option in typing.get_args(kind) for mark in marks(option)))
    return own


_NAMES: Final[Mapping[Any, str]] = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "null", Any: "a value"
}  # fmt: skip


def _accepts(hint: Any, value: Any) -> bool:
    kind, limits = split(hint)
    if any(value is not None and value not in limit for limit in limits if isinstance(limit, Range | OneOf)):
        return False
    if _is_union(kind):
        return any(_accepts(option, value) for option in typing.get_args(kind))
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        return value in typing.get_args(kind)
    if not _is_class(origin) or origin is object:
        return True  # Any, a type variable, a callable
    if isinstance(value, bool) or origin is bool:
        return origin is bool and isinstance(value, bool)
    if isinstance(value, str | Path):
        return issubclass(origin, str | Path)
    if isinstance(value, list | tuple):
        elements = typing.get_args(kind) or (Any,)
        return _is_sequence(origin) and all(_accepts(elements[0], each) for each in value)
    return isinstance(value, (int, float) if origin is float else origin)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def _is_sequence(origin: Any) -> bool:
    return origin is tuple or (_is_class(origin) and isinstance([], origin))


def _is_class(hint: Any) -> bool:
    return isinstance(hint, type) and hint is not Any


def split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns a type without its annotations, and these."""
    if typing.get_origin(hint) is not Annotated:
        return hint, ()
    kind, *marks = typing.get_args(hint)
    return kind, tuple(marks)


def _words(hint: Any) -> Iterator[str]:
    """Yields the words that a type is a choice of."""
    kind, limits = split(hint)
    if _is_union(kind):
        for option in typing.get_args(kind):
            yield from _words(option)
    if typing.get_origin(kind) is Literal:
        yield from map(str, typing.get_args(kind))
    for limit in limits:
        if isinstance(limit, OneOf):
            yield from limit
