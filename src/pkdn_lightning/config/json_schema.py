"""A JSON schema of the files in `conf/experiment/`, by which editors complete and check keys as they are typed.

    # yaml-language-server: $schema=../experiment.schema.json        the line in a file that names it
    python -m pkdn_lightning.config.json_schema > conf/experiment.schema.json

It is made from `config.schema`, so it says what `pkdn train` accepts.
"""

import dataclasses
import inspect
import json
import math
import sys
import types
import typing
from typing import Any, Final

from pkdn_lightning.config.keys import described_names
from pkdn_lightning.config.schema import TrainConfig
from pkdn_lightning.values import OneOf, Range, split

_KINDS: Final = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}
_INTERPOLATION: Final = {"type": "string", "pattern": r"\$\{"}


def experiment_schema() -> dict[str, Any]:
    """Returns the schema of an experiment's file, in draft 2020-12."""
    schema = _of_class(TrainConfig)
    schema["properties"] = {"defaults": {"type": "array", "description": "Choices of groups."}, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "An experiment", **schema}


def _of_class(schema: type) -> dict[str, Any]:
    meanings, hints = described_names(inspect.getdoc(schema) or ""), typing.get_type_hints(schema, include_extras=True)
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            each.name: {"description": meanings.get(each.name, "The class."), **_of_key(hints[each.name])}
            for each in dataclasses.fields(schema)
        },
    }


def _of_key(hint: Any) -> dict[str, Any]:
    kind = _of_type(hint)
    return kind if kind.get("type") == "object" or not kind else {"anyOf": [*kind.get("anyOf", [kind]), _INTERPOLATION]}


def _of_type(hint: Any) -> dict[str, Any]:
    kind, limits = split(hint)
    origin = typing.get_origin(kind) or kind
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [{**_of_type(option), **_limited(limits, option)} for option in typing.get_args(kind)]}
    if isinstance(origin, type) and dataclasses.is_dataclass(origin):
        return _of_class(origin)
    if origin is dict:
        _, value = typing.get_args(kind)
        return {"type": "object", **({"additionalProperties": values} if (values := _of_key(value)) else {})}
    if origin is list:
        return {"type": "array", "items": _of_key(typing.get_args(kind)[0])}
    return {"type": _KINDS[origin], **_limited(limits, kind)} if origin in _KINDS else {}


def _limited(limits: tuple[Any, ...], kind: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for limit in limits:
        if isinstance(limit, OneOf):
            found["enum"] = list(limit)
        elif isinstance(limit, Range) and kind in (int, float) and limit.besides is None:
            if math.isfinite(limit.least):
                found["exclusiveMinimum" if limit.above else "minimum"] = limit.least
            if math.isfinite(limit.most):
                found["maximum"] = limit.most
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(experiment_schema(), indent=1) + "\n")
