"""What is typed becomes what Hydra's grammar means: values that hold its special characters are quoted, once, here."""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pkdn_lightning.config.compose import verb_dir
from pkdn_lightning.config.keys import keys_of
from pkdn_lightning.config.schema import SCHEMAS
from pkdn_lightning.config.tree import groups
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.trust import conf_dir
from pkdn_lightning.values import FileName, marks

WITH_VALUE: Final = ("--cfg", "-c", "--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package",
                     "-p", "--info", "-i")  # fmt: skip
"""Options that the next argument belongs to."""
_ALONE: Final = ("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m",
                 "--shell-completion", "-sc")  # fmt: skip
_ONE_OF: Final = (
    {"--cfg", "-c"},
    {"--info", "-i"},
    {"--run", "-r"},
    {"--multirun", "-m"},
    {"--shell-completion", "-sc"},
)
_WORD: Final = r"[^\[\]{},:'\"]+"
_NUMBER: Final = r"(?<![^\[(,\s])(?i:null|true|false|nan|inf|[-+\d._]+(e[-+]?\d+)?)(?![^\]),\s])"
"""What Hydra reads as something other than text, among the choices of a group, whose names are text."""


def as_overrides(verb: str, arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a command line with their values quoted where Hydra's grammar would misread them.

    Names of files are taken as they are typed, other values only if they are not valid as they are. In a multirun, a
    comma separates the values of a sweep, in names of files, too. Options come last: argparse, which Hydra uses, takes
    overrides in one piece only.

    Raises:
        ConfigError: If an argument is neither an option nor an override, or removes a key of the verb.

    Example:
        >>> as_overrides("predict", ["input=Photo (1), 2.jpg", "output=José", "mode=auto"])
        ["input='Photo (1), 2.jpg'", "output='José'", 'mode=auto']
    """
    multirun = bool({"-m", "--multirun"} & set(arguments))
    if multirun and verb != "train":
        shards = " shards=8 makes a store in eight jobs." if verb == "prepare" else ""
        raise ConfigError(f"-m is for sweeps of trainings: pkdn train -m ...; pkdn {verb} runs once.{shards}")
    typed = {argument.partition("=")[0] for argument in arguments}
    alternatives = [sorted(typed & names)[0] for names in _ONE_OF if typed & names]
    if len(alternatives) > 1:
        raise ConfigError(f"{' and '.join(alternatives)} exclude each other. Type one of them.")
    if "--resolve" in typed and not {"--cfg", "-c"} & typed:
        raise ConfigError(f"--resolve is for a configuration that is shown: pkdn {verb} --cfg job --resolve ...")
    overrides, options = [], []
    for number, argument in enumerate(map(_renamed, arguments)):
        is_option = argument.startswith("-") or (number > 0 and arguments[number - 1] in WITH_VALUE)
        option = argument.partition("=")[0]
        if argument.startswith("-") and option not in (*WITH_VALUE, *_ALONE):
            raise ConfigError(
                f"There is no option {option}. Keys are typed without dashes: {option.lstrip('-')}=<value>; "
                f"--help lists them.{did_you_mean(option, (*WITH_VALUE, *_ALONE))}"
            )
        removed = argument.partition("=")[0].partition("@")[0].removeprefix("~")
        if argument.startswith("~") and removed in {key.name for key in fields(SCHEMAS[verb])}:
            raise ConfigError(
                f"{argument}: '{removed}' cannot be removed, only set: {removed}=<value>; --help lists it."
            )
        if is_option:
            options.append(argument)
        else:
            overrides.append(_quoted(verb, argument, multirun=multirun))
    return [*overrides, *options]


def replaced(typed: Sequence[str]) -> list[str]:
    """Returns a note for each key that was typed several times with other values, of which the last counts.

    Example:
        >>> replaced(["seed=1", "input=a", "seed=1", "input=b"])
        ['input=b is used; input=a, typed before it, is not.']
    """
    last: dict[str, str] = {}
    notes = {}
    for argument in typed:
        key, given, _ = argument.lstrip("+").partition("=")
        if not given or key.startswith("-"):
            continue
        if (before := last.get(key, argument)) != argument:
            notes[key] = f"{argument} is used; {before}, typed before it, is not."
        last[key] = argument
    return [*notes.values()]


def as_jobs(verb: str, overrides: Sequence[str]) -> list[str]:
    """Returns Hydra's arguments for overrides: `shards=n` of the verb `prepare` is a multirun over n shards.

    Raises:
        ConfigError: If the number is none, or the command does something other than making a store.

    Example:
        >>> as_jobs("prepare", ["data=lfw", "shards=2"])
        ['shard=1/2,2/2', 'data=lfw', 'shards=2', '-m']
    """
    values = dict(each.partition("=")[::2] for each in overrides)
    count = values.get("shards", "null")
    if verb != "prepare" or count == "null" or values.get("dry_run", "false").lower() == "true" or _only_shown(values):
        return list(overrides)
    if not re.fullmatch(r"[1-9]\d{0,3}", count):
        raise ConfigError(f"shards={count}: expected a whole number from 1 to 9999, e.g. shards=8")
    for other in ("shard", "join", "verify"):
        if values.get(other, "null") != "null":
            raise ConfigError(f"shards={count} and {other}={values[other]} exclude each other. Type one of them.")
    shards = ",".join(f"{number}/{count}" for number in range(1, int(count) + 1))
    return [f"shard={shards}", *overrides, "-m"]


def _only_shown(arguments: Iterable[str]) -> bool:
    return bool({"--cfg", "-c", "--info", "-i"} & set(arguments))


def _renamed(argument: str) -> str:
    """Returns an argument, or what replaced it, and says so.

    Raises:
        ConfigError: If a store of the replaced faces is there, which could be meant.
    """
    if argument != "data=synthetic":
        return argument
    if (store := Path("stores/synthetic")).exists():
        raise ConfigError(
            "The drawn faces of data=synthetic were replaced by real ones, without a download, too: data=portraits\n"
            f"{store} is used like any other store: data=folder data.name=synthetic data.store={store}"
        )
    sys.stderr.write("data=synthetic: its drawn faces were replaced by real ones; data=portraits is used.\n")
    return "data=portraits"


def as_typed(verb: str, override: str) -> str:
    r"""Returns an override as a user would type it: without quotes of `as_overrides` and Hydra's escapes in a multirun.

    Example:
        >>> as_typed("train", "paths.runs='my runs'"), as_typed("train", "tags=['a b']")
        ('paths.runs=my runs', "tags=['a b']")
        >>> as_typed("train", r"teacher.seed=$\{seed\}")
        'teacher.seed=${seed}'
    """
    override = re.sub(r"\$\\\{([^{}\\]*)\\\}", r"${\1}", override)
    key, _, value = override.partition("=")
    bare = f"{key}={value[1:-1]}"
    return bare if value[:1] == "'" and _quoted(verb, bare, multirun=False) == override else override


def _quoted(verb: str, argument: str, *, multirun: bool) -> str:
    key, given, value = argument.partition("=")
    if not given or not re.fullmatch(r"\+{0,2}[\w./@-]+", key):
        if not re.fullmatch(r"~[\w./@-]+(=.*)?", argument):
            raise ConfigError(f"'{argument}' is no override: expected key=value, e.g. seed=1; --help lists the keys.")
        return argument
    valid = _is_valid(argument)
    if valid and key.lstrip("+").partition("@")[0] in _groups(verb):
        named = f"{key}={re.sub(_NUMBER, lambda word: _in_quotes(word[0]), value)}"
        return named if _is_valid(named) else argument
    if value in ("null", "") or (valid and value[0] in "'\""):
        return argument
    if _file_names(verb).fullmatch(key.lstrip("+")):
        meant = _refers(verb, value) or (multirun and "," in value)  # a sweep
        return argument if valid and meant else f"{key}={_in_quotes(value)}"
    if valid:
        return argument
    by_word = f"{key}={re.sub(_WORD, lambda word: word[0] if word[0].isascii() else _in_quotes(word[0]), value)}"
    is_list = value[0] in "[{" or (multirun and "," in value)
    return by_word if is_list and _is_valid(by_word) else f"{key}={_in_quotes(value)}"


def _refers(verb: str, value: str) -> bool:
    """Returns whether a name of a file refers to keys, environment variables and the like, or merely looks like it."""
    known = {"hydra", *(key.name for key in fields(SCHEMAS[verb]))}
    return any(":" in name or name.partition(".")[0] in known for name in re.findall(r"\$\{([^{}]*)", value))


def _groups(verb: str) -> list[str]:
    """Returns the groups of a verb; those in `inference/` have none."""
    return groups() if verb_dir(verb) == conf_dir() else []


def _is_valid(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


@cache
def _file_names(verb: str) -> re.Pattern[str]:
    """Returns a pattern of the keys that hold names of files."""
    patterns = []
    for key in keys_of(SCHEMAS[verb]):
        for mark in marks(key.hint):
            if isinstance(mark, FileName):
                below = rf"\.({'|'.join(mark.keys) or '.+'})" if mark.in_mapping else ""
                patterns.append(re.escape(key.name) + below)
    return re.compile("|".join([*patterns, r"hydra\.(run|sweep)\.dir"]))


def _in_quotes(value: str) -> str:
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped.replace('${', chr(92) + '${')}'"
