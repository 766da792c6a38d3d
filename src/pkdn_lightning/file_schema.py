"""Checks what files contain: values read from JSON, YAML or a checkpoint, against a schema for each kind of file.

A schema is made of rules. A rule is one of

    int, float, str, bool, dict    a type; `True` is no `int`, and an `int` is a `float`
    re.compile("x+")               text that matches as a whole
    range(1, 65)                   an integer in this range
    ("pil", "matlab", None)        one of several rules or values
    [rule]                         a list whose items follow the rule
    {"key": rule, "other?": rule}  a mapping with these keys, of which `other` may be missing; further keys are allowed
    {str: rule}                    a mapping with any names, whose values follow the rule
"""

import re
from collections.abc import Mapping
from typing import Any

from pkdn_lightning.errors import PKDNError

Rule = Any
_TYPES: Mapping[type, str] = {
    int: "an integer", float: "a number", str: "text", bool: "true or false", dict: "a mapping",
}  # fmt: skip


def check_contents(content: object, rule: Rule, origin: object, error: type[PKDNError], remedy: str = "") -> None:
    """Checks the content of a file.

    Args:
        content: What was read.
        rule: Its schema; see the module's docstring.
        origin: The file, for the message.
        error: The error to raise.
        remedy: What to do about it, for the message.

    Raises:
        PKDNError: `error`, if the content does not follow the schema; the message names the first fault.
    """
    if found := fault(content, rule):
        raise error(f"{origin} is damaged or of another origin: {found}.{f' {remedy}' if remedy else ''}")


def fault(value: object, rule: Rule, name: str = "") -> str | None:
    """Returns in words where a value first differs from a rule, or None.

    Example:
        >>> schema = {"scale": range(1, 65), "splits": {str: int}, "note?": (str, None)}
        >>> fault({"scale": 8, "splits": {"train": 3}}, schema)
        >>> fault({"scale": "big", "splits": {}}, schema)
        "scale is 'big', expected an integer from 1 to 64"
        >>> fault({"scale": 8, "splits": {"train": None}}, schema)
        'splits.train is None, expected an integer'
        >>> fault({"splits": {}}, schema)
        'scale is missing'
    """
    if isinstance(rule, Mapping) and isinstance(value, Mapping):
        return _fault_in_mapping(value, rule, name)
    if isinstance(rule, list) and isinstance(value, list | tuple):
        faults = (fault(each, rule[0], f"{name}[{place}]") for place, each in enumerate(value))
        return next(filter(None, faults), None)
    if isinstance(rule, tuple):
        for kind in (Mapping, list):
            if isinstance(value, kind) and (nested := [each for each in rule if isinstance(each, kind)]):
                return fault(value, nested[0], name)
        if any(fault(value, each) is None for each in rule):
            return None
    elif _follows(value, rule):
        return None
    return f"{name or 'it'} is {_shown(value)}, expected {_words(rule)}"


def _fault_in_mapping(value: Mapping[Any, Any], rule: Mapping[Any, Rule], name: str) -> str | None:
    before = f"{name}." if name else ""
    if str in rule:
        keys = {key: rule[str] for key in value}
    else:
        keys = {key.removesuffix("?"): each for key, each in rule.items() if not key.endswith("?") or key[:-1] in value}
    for key, each in keys.items():
        if not isinstance(key, str):
            return f"{before}{key!r} is no name"
        if key not in value:
            return f"{before}{key} is missing"
        if found := fault(value[key], each, f"{before}{key}"):
            return found
    return None


def _follows(value: object, rule: Rule) -> bool:
    if isinstance(rule, range):
        return isinstance(value, int) and not isinstance(value, bool) and value in rule
    if isinstance(rule, re.Pattern):
        return isinstance(value, str) and rule.fullmatch(value) is not None
    if isinstance(rule, type):
        accepted = (int, float) if rule is float else (Mapping if rule is dict else rule)
        return isinstance(value, accepted) and (rule is bool or not isinstance(value, bool))
    return type(value) is type(rule) and value == rule


def _words(rule: Rule) -> str:
    if isinstance(rule, tuple):
        return " or ".join(map(_words, rule))
    if isinstance(rule, range):
        return f"an integer from {rule.start} to {rule.stop - 1}"
    if isinstance(rule, re.Pattern):
        return f"text like {rule.pattern}"
    if isinstance(rule, type):
        return _TYPES[rule]
    if isinstance(rule, Mapping):
        return "a mapping"
    return "a list" if isinstance(rule, list) else repr(rule) if rule is not None else "nothing"


def _shown(value: object) -> str:
    if isinstance(value, Mapping | list):
        return f"a {'mapping' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
