"""What `pkdn <verb> --help` prints: the groups and keys that the verb has, each with its value and what it is for."""

import ast
import json
import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pkdn_lightning.config.compose import compose, verb_dir
from pkdn_lightning.config.keys import described_names, keys_of
from pkdn_lightning.config.schema import SCHEMAS, TermConfig
from pkdn_lightning.config.tree import options
from pkdn_lightning.values import describe

_COLUMN = 34


def help_text(verb: str, overrides: Sequence[str]) -> str:
    """Returns the help of a verb, with the values that `overrides` give.

    Raises:
        ConfigError: If an override does not fit.
    """
    file = verb_dir(verb) / f"{verb}.yaml"
    header = str(OmegaConf.load(file).hydra.help.header).strip()
    cfg = compose(verb, overrides)
    groups, keys = list(_groups(file)), list(_keys(verb, cfg))
    parts = [header]
    if groups:
        parts += ["Groups, each with its choices:", "\n".join(groups)]
    parts += ["Keys with their values:", "\n".join(keys)]
    parts += [f"Type pkdn {verb} key=value ...; values as in YAML, null for none.{_MORE.get(verb, '')}"]
    return "\n\n".join(parts) + "\n"


_MORE = {"train": " With -m, several values after commas are a sweep."}


def _groups(file: Path) -> Iterator[str]:
    """Yields a line per group, from the defaults list of a verb and the comments in it."""
    for group, chosen, sentence in re.findall(r"^  - (\w+): (\w+) +# (.*)$", file.read_text("utf-8"), re.MULTILINE):
        choices = ", ".join(sorted(options(group)))
        yield _line(f"{group}={chosen}", f"{sentence[0].upper()}{sentence[1:]}. Choices: {choices}")


def _keys(verb: str, cfg: DictConfig) -> Iterator[str]:
    """Yields a line per key, those of open mappings with what their class says of it."""
    for key in keys_of(SCHEMAS[verb]):
        if is_dataclass(key.hint) or key.name.endswith("_target_"):
            continue
        if isinstance(_value(cfg, key.name), Mapping):
            yield _line(f"{key.name}=...", key.sentence)
            yield from _open_mapping(cfg, key.name)
        else:
            yield _line(f"{key.name}={_shown(_value(cfg, key.name))}", f"{key.sentence} ({describe(key.hint)})")


def _open_mapping(cfg: DictConfig, prefix: str) -> Iterator[str]:
    node = _value(cfg, prefix)
    target = str(node.get("_target_", ""))
    sentences = _TERM if "term" in node else _sentences(target)
    for name in node:
        value = _value(cfg, f"{prefix}.{name}")
        if isinstance(value, Mapping) and value:
            yield from _open_mapping(cfg, f"{prefix}.{name}")
        elif name != "_target_":
            yield _line(f"{prefix}.{name}={_shown(value)}", sentences.get(name, f"See {target}." if target else ""))


_TERM = {key.name: key.sentence for key in keys_of(TermConfig)}


def _value(cfg: DictConfig, key: str) -> Any:
    try:
        value = OmegaConf.select(cfg, key)
    except OmegaConfBaseException:  # a value that only a run has
        return "..."
    return OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value or "''"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _line(name: str, sentence: str) -> str:
    width = max(60, min(120, shutil.get_terminal_size().columns))
    wrapped = [f"{'':{_COLUMN + 2}}{line}" for line in textwrap.wrap(sentence, width - _COLUMN - 2)]
    if wrapped and len(name) < _COLUMN:
        return "\n".join([f"  {name:<{_COLUMN}}{wrapped[0].lstrip()}", *wrapped[1:]])
    return "\n".join([f"  {name}", *wrapped])


@cache
def _sentences(target: str) -> dict[str, str]:
    """Returns what the docstrings of a class of this package and its bases say of each argument.

    The source is parsed instead of imported: help does not wait for torch.
    """
    package, _, path = target.partition(".")
    if package != __name__.partition(".")[0]:
        return {}
    module, _, name = path.rpartition(".")
    place = Path(__file__).parents[1].joinpath(*module.split("."))
    for file in (place.with_suffix(".py"), *sorted(place.glob("*.py"))):
        tree = ast.parse(file.read_text("utf-8") if file.is_file() else "")
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        origin = {each.name: node.module for node in imports for each in node.names}
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                found = described_names(ast.get_docstring(node) or "")
                for base in map(ast.unparse, node.bases):  # it may describe what the class only refers to
                    inherited = _sentences(f"{origin.get(base, f'{package}.{module}')}.{base}")
                    found |= {key: text for key, text in inherited.items() if found.get(key, "See").startswith("See")}
                return found
    return {}
