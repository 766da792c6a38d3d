"""The keys of the schema, one by one: their types, what they are for, and whether a configuration fits them."""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from pkdn_lightning.config.schema import SCHEMAS, TermConfig
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.values import check


class Key(NamedTuple):
    """A key of a schema.

    Attributes:
        name: Its dotted name.
        hint: Its type with annotations; see `values`.
        sentence: What it is for.
    """

    name: str
    hint: Any
    sentence: str


def keys_of(schema: Any, prefix: str = "") -> Iterator[Key]:
    """Yields the keys of a schema, those of its sections behind each section."""
    hints, sentences = get_type_hints(schema, include_extras=True), dict[str, str]()
    for base in reversed(schema.__mro__):
        sentences |= described_names(inspect.cleandoc(base.__doc__ or ""))
    for each in fields(schema):
        yield Key(prefix + each.name, hints[each.name], sentences.get(each.name, ""))
        if is_dataclass(hints[each.name]):
            yield from keys_of(hints[each.name], f"{prefix}{each.name}.")


def check_config(verb: str, cfg: DictConfig) -> None:
    """Checks the values of a verb's configuration against its schema.

    Raises:
        ConfigError: If a value is out of range or none of the choices. Unknown keys and wrong types are errors of
            Hydra's before that.
    """
    _check(SCHEMAS[verb], cfg, "")


def _check(schema: Any, cfg: DictConfig, prefix: str) -> None:
    hints = get_type_hints(schema, include_extras=True)
    for name in map(str, cfg):
        if name not in hints:  # Hydra adds what is typed with a plus
            raise unknown_key(f"{prefix}{name}", [f"{prefix}{each}" for each in hints])
    for name, hint in hints.items():
        if name not in cfg or OmegaConf.is_missing(cfg, name):
            continue
        value, key = cfg[name], f"{prefix}{name}"
        if is_dataclass(hint):
            _check(hint, value, f"{key}.")
        elif hint == dict[str, TermConfig]:
            for term in value:
                _check(TermConfig, value[term], f"{key}.{term}.")
        elif not isinstance(value, DictConfig):
            check(key, list(value) if isinstance(value, ListConfig) else value, hint)


def unknown_key(key: str, known: Sequence[str], elsewhere: Sequence[str] = ()) -> ConfigError:
    """Returns the error for a key that is not there, with the nearest one that is.

    Args:
        key: Its dotted name.
        known: The keys there.
        elsewhere: Keys of the same last name in other sections, which are meant rather than similar ones.
    """
    if elsewhere:
        return ConfigError(f"Unknown key '{key}'. Did you mean {' or '.join(map(repr, elsewhere[:3]))}?")
    if not known:
        return ConfigError(f"Unknown key '{key}': {key.rpartition('.')[0]} is empty in this configuration.")
    return ConfigError(f"Unknown key '{key}'.{did_you_mean(key, known)}\nKeys there: {', '.join(sorted(known))}")


def described_names(docstring: str) -> dict[str, str]:
    r"""Returns the names that a Google-style docstring describes, with the description of each.

    Example:
        >>> described_names("Title.\n\nArgs:\n    a: First\n        line.\n    b: Second.")
        {'a': 'First line.', 'b': 'Second.'}
    """
    section = re.search(r"^(?:Args|Attributes):\n((?:[ ].*\n?|\n(?=[ ]))+)", docstring, re.MULTILINE)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
