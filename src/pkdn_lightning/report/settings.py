"""What tells one training from another: the keys of a configuration that change what is learned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pkdn_lightning.config.training_keys import affects_training, flatten, within
from pkdn_lightning.report.idle import idle
from pkdn_lightning.report.methods import class_name

TEACHER_NAME: Final = "teacher.checkpoint"
"""Which teacher it was, where teachers of equal settings are told apart; see `groups.tails`."""
START: Final = "module.init_from"
"""What the first weights were copied from: false, true, `teacher`, or a name as above."""
OF_TEACHER: Final = "teacher"
OF_START: Final = "init_from"
"""What the settings of a teacher, and of a network that weights were copied from, lie below."""

# Not compared: a row has runs of several seeds, and the teacher and the data are compared by content, not by path.
_ALIKE: Final = ("seed", "experiment", "method", "size", "teacher", "data.name", "data.store", START)
# Nor do these make another teacher: what it was computed on, and how often it was looked at.
_ALIKE_SOURCES: Final = (
    *("trainer.devices", "trainer.precision", "trainer.val_check_interval", "trainer.check_val_every_n_epoch"),
)
_FIRST: Final = ("model", "teacher", "objective", "module", "data", "optimizer", "scheduler", "trainer", "callbacks")
_VAGUE: Final = ("weight", "schedule", "duration", "unit", "start", "_target_", "normalised", "levels", "pfb", "ffb")
_SHOWN, _MANY = 3, 5
_LONGEST: Final = 18


class Settings(NamedTuple):
    """What a run shares with the same training under another seed."""

    values: Mapping[str, Any]  # by dotted key
    idle: tuple[str, ...] = ()  # keys that are left out, with all below them, because nothing reads them


def settings(
    config: Mapping[str, Any],
    *,
    data: Mapping[str, Any],
    teacher: Settings | None = None,
    start: Settings | None = None,
) -> Settings:
    """Returns what a run shares with the same training under another seed.

    Args:
        config: The run's resolved configuration.
        data: Name and hash of the store it was trained on.
        teacher: The settings of the teacher it learned from, as `of_source` returns them; None if there was none.
        start: Those of the network that its first weights were copied from; None if there was none.
    """
    without_effect = idle(config, teacher.values if teacher else None)
    absent = [f"objective.{name}" for name, term in config["objective"].items() if not term["weight"]]
    left_out = (*_ALIKE, *without_effect, *absent)
    found = {key: value for key, value in flatten(config) if affects_training(key) and not within(key, left_out)}
    found["data.train"] = f"{data.get('name')} {str(data.get('sha256'))[:8]}"
    devices = config["trainer"].get("devices")
    found["trainer.devices"] = devices if isinstance(devices, int) and devices > 0 else 1  # as the batch is counted
    found[START] = bool(config["module"].get("init_from"))
    layers = config["teacher"]["features"]  # the student's choice, though they are the teacher's
    if layers and not within(f"{OF_TEACHER}.features", without_effect):
        found |= {f"{OF_TEACHER}.features.{key}": value for key, value in flatten(layers)}
    for place, source in ((OF_TEACHER, teacher), (OF_START, start)):
        if source:
            found |= {f"{place}.{key}": value for key, value in source.values.items()}
            without_effect = (*without_effect, *(f"{place}.{key}" for key in source.idle))
    return Settings(found, without_effect)


def of_source(own: Settings) -> Settings:
    """Returns what tells the training of a teacher from another one; the network's arguments have no prefix."""
    kept = {key: value for key, value in own.values.items() if not within(key, _ALIKE_SOURCES)}
    values = {key.removeprefix("model."): value for key, value in kept.items()}
    return Settings(values, tuple(key.removeprefix("model.") for key in own.idle))


def labels(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Returns short names for rows, none of them twice.

    Args:
        rows: Method and settings of each. The only row of a method has the method's name; several rows of one method
            are told apart by three of the keys in which they differ, and by more where three do not suffice. A label
            leaves out keys that have no effect on its row; of five rows or more also what most have in common.
    """
    methods = dict.fromkeys(method for method, _ in rows)
    keys = {method: _telling([own for name, own in rows if name == method]) for method in methods}
    usual = {method: _usual([own for name, own in rows if name == method], keys[method]) for method in methods}
    names = [_label(method, own, keys[method], usual[method]) for method, own in rows]
    total = Counter(names)
    names = [
        _label(method, own, keys[method]) if total[name] > 1 else name
        for name, (method, own) in zip(names, rows, strict=True)
    ]
    total, seen = Counter(names), Counter[str]()
    for place, name in enumerate(names):
        if total[name] > 1:
            seen[name] += 1
            names[place] = f"{name} #{seen[name]}"
    return names


def _label(method: str, own: Mapping[str, Any], keys: Sequence[str], usual: Mapping[str, str] | None = None) -> str:
    has = [key for key in keys if _has(own, key)] or keys
    shown = [f"{short(key)}={told(own, key)}" for key in has if told(own, key) != (usual or {}).get(key)]
    return f"{method} ({', '.join(shown)})" if shown else method


def _usual(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, str]:
    """Returns the values, in words, that most of many rows have in common; none for names of other runs."""
    found: dict[str, str] = {}
    for key in keys if len(rows) >= _MANY else ():
        values = Counter(told(row, key) for row in rows if _has(row, key))
        value, count = values.most_common(1)[0]
        if 2 * count > len(rows) and key not in (TEACHER_NAME, START):
            found[key] = value
    return found


def _telling(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the keys by which labels tell rows apart: the first that differ, then those that split equal labels."""
    keys = differing(rows)
    chosen = [key for key in keys if len({told(row, key) for row in rows if _has(row, key)}) > 1][:_SHOWN]

    def told_apart(by: Sequence[str]) -> int:
        return len({tuple(told(row, key) for key in by) for row in rows})

    for key in keys:
        if key not in chosen and told_apart([*chosen, key]) > told_apart(chosen):
            chosen.append(key)
    return chosen


def differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the keys in which rows differ, the most informative first; of keys that say the same, one."""
    found: dict[tuple[str, ...], str] = {}
    for key in sorted({key for row in rows for key in row}, key=_place):
        if len({repr(row.get(key)) for row in rows}) > 1:
            # The teacher's width follows the student's, and the scheduler's max_lr the optimiser's lr.
            name = key.rpartition(".")[2].removeprefix("max_")
            found.setdefault((name, *(told(row, key) for row in rows)), key)
    return list(found.values())


def _place(key: str) -> tuple[int, str]:
    """Returns what to sort keys by: a term's weight before its other keys, a teacher's training after all others."""
    first, _, rest = key.partition(".")
    of_training = first == OF_TEACHER and rest.partition(".")[0] in _FIRST
    place = _FIRST.index(first) if first in _FIRST and not of_training else len(_FIRST)
    return place, key.removesuffix("weight") if _is_weight(key) else key


def _is_weight(key: str) -> bool:
    return key.startswith("objective.") and key.endswith(".weight") and key.count(".") == 2


def _has(own: Mapping[str, Any], key: str) -> bool:
    return key in own or _is_weight(key)


def short(key: str) -> str:
    """Returns a dotted key as labels show it: its last part, or two where one says too little, and whose it is."""
    parts = key.removesuffix("._target_").split(".")
    whose, parts = (parts[:1], parts[1:] or ["model"]) if parts[0] in (OF_TEACHER, OF_START) else ([], parts)
    return ".".join([*whose, *parts[-2 if parts[-1] in _VAGUE else -1 :]])


def told(own: Mapping[str, Any], key: str) -> str:
    """Returns a setting of a row in words; a term that it lacks has the weight 0."""
    if key in (TEACHER_NAME, START) and isinstance(own.get(key), str):
        return str(own[key])  # names are not cut, since their ends tell them apart
    return in_words(own.get(key, 0 if _is_weight(key) else None))


def in_words(value: Any) -> str:
    """Returns a setting as labels show it: classes by their names, long values cut."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping) and not value:
        return "none"
    word = class_name(value) if isinstance(value, str) and value.startswith(("pkdn_lightning.", "torch.")) else ""
    return cut(word or str(value).replace(", ", ","), _LONGEST)


def cut(text: str, longest: int) -> str:
    """Returns a text, shortened with an ellipsis where it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
