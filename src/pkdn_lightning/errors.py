"""The errors of this package.

A message says what was found, what was expected, where, and what to type next, in four lines at most. The verbs
print it without a stack trace. Any other exception is a bug in this package and keeps its trace.
"""

import traceback
from collections.abc import Iterable
from difflib import get_close_matches


class PKDNError(Exception):
    """Base class: a problem that the user can correct, explained in the message."""


class ConfigError(PKDNError):
    """An invalid configuration: an unknown key, a wrong type, or contradictory values."""


class DataError(PKDNError):
    """Missing, unreadable or damaged images, parsing maps or stores."""


class ShapeError(PKDNError, ValueError):
    """Tensor shapes that do not match, or sizes that a network or scale cannot divide."""


class CheckpointError(PKDNError):
    """A missing or truncated checkpoint or run folder, or one of another network."""


class DeviceError(PKDNError):
    """A GPU or its driver that failed during a computation."""


class TrainingError(PKDNError):
    """A training that cannot continue: non-finite loss, full disk, or insufficient memory."""


def describe(error: Exception) -> str:
    """Returns an error's kind and message as one text."""
    return f"{type(error).__name__.removeprefix('PKDN')}: {error}"


def cause(error: BaseException) -> str:
    """Returns what an exception of the user's own code says, and the line that raised it, to quote in a message."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a suggestion of the nearest known name, to append to a message; empty if none is near.

    Example:
        >>> did_you_mean("traner", ["trainer", "data"])
        " Did you mean 'trainer'?"
    """
    near = get_close_matches(name, list(known), 1)
    return f" Did you mean '{near[0]}'?" if near else ""
