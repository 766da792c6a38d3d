"""Every error a user can meet.

A message says what was found, what was expected, where, and what to type next, in four lines at most. The verbs
print the message without a stack trace; anything that is not a `PKDNError` is a fault of this package and keeps its
trace.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PKDNError(Exception):
    """The root: a problem the user can mend, told in the message."""


class ConfigError(PKDNError):
    """A configuration that cannot be run: an unknown key, a wrong type, values that contradict each other."""


class DataError(PKDNError):
    """Images, parsing maps or a store that are missing, unreadable or damaged."""


class ShapeError(PKDNError, ValueError):
    """Tensors whose shapes do not fit together, or sizes that a network or a scale cannot divide."""


class CheckpointError(PKDNError):
    """A checkpoint or run folder that is missing, truncated, or belongs to another network."""


class TrainingError(PKDNError):
    """A training run that cannot go on: the loss is not finite, the disk is full, the memory does not suffice."""


def describe(error: Exception) -> str:
    """Returns an error as one text: its kind and its message."""
    return f"{type(error).__name__.removeprefix('PKDN')}: {error}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question with the nearest of the known names, to be put behind a message; empty if none is near.

    Example:
        >>> did_you_mean("traner", ["trainer", "data"])
        " Did you mean 'trainer'?"
    """
    near = get_close_matches(name, list(known), 1, cutoff=0.4)
    return f" Did you mean '{near[0]}'?" if near else ""
