"""What tells one training from another: the keys of a configuration that change what is learned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pkdn_lightning.config.training_keys import affects_training, flatten, within
from pkdn_lightning.report.methods import class_name

# Not compared: a row has runs of several seeds, and the teacher and the data are compared by content, not by path.
_ALIKE: Final = ("seed", "experiment", "method", "size", "teacher", "data.name", "data.store", "module.init_from")
_FIRST: Final = ("model", "teacher", "objective", "module", "data", "optimizer", "scheduler", "trainer", "callbacks")
_VAGUE: Final = ("weight", "schedule", "duration", "unit", "start", "_target_", "normalised", "levels", "pfb", "ffb")
_SHOWN: Final = 3
_LONGEST: Final = 18


def settings(config: Mapping[str, Any], *, teacher: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a run shares with the same training under another seed, by dotted key.

    Args:
        config: The run's resolved configuration.
        teacher: The network it learned from, and `trainer`, the length of its training; empty if there was none.
        data: Name and hash of the store it was trained on.
    """
    # Without a teacher, terms of weight 0 make no difference, whatever the configuration says of them.
    terms = config["objective"].items()
    unused = [] if teacher else [f"objective.{name}" for name, term in terms if not term["weight"]]
    found = {key: value for key, value in flatten(config) if affects_training(key) and not within(key, _ALIKE)}
    found = {key: value for key, value in found.items() if not within(key, unused)}
    found |= {f"teacher.{key}": value for key, value in flatten(teacher)}
    found["data.train"] = f"{data.get('name')} {str(data.get('sha256'))[:8]}"
    devices = config["trainer"].get("devices")
    found["trainer.devices"] = devices if isinstance(devices, int) and devices > 0 else 1  # as the batch is counted
    found["module.init_from"] = bool(config["module"].get("init_from"))
    return found


def labels(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Returns short names for rows, none of them twice.

    Args:
        rows: Method and settings of each. The only row of a method has the method's name; several rows of one method
            are told apart by three of the keys in which they differ, and by more where three do not suffice.
    """
    methods = dict.fromkeys(method for method, _ in rows)
    keys = {method: _telling([own for name, own in rows if name == method]) for method in methods}
    names = []
    for method, own in rows:
        shown = ", ".join(f"{short(key)}={in_words(own.get(key))}" for key in keys[method])
        names.append(f"{method} ({shown})" if shown else method)
    total, seen = Counter(names), Counter[str]()
    for place, name in enumerate(names):
        if total[name] > 1:
            seen[name] += 1
            names[place] = f"{name} #{seen[name]}"
    return names


def _telling(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the keys by which labels tell rows apart: the first that differ, then those that split equal labels."""
    keys = differing(rows)
    chosen = keys[:_SHOWN]

    def told_apart(by: Sequence[str]) -> int:
        return len({tuple(in_words(row.get(key)) for key in by) for row in rows})

    for key in keys[_SHOWN:]:
        if told_apart([*chosen, key]) > told_apart(chosen):
            chosen.append(key)
    return chosen


def differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the keys in which rows differ, the most informative first; of keys that say the same, one."""
    found: dict[tuple[str, ...], str] = {}
    for key in sorted({key for row in rows for key in row}, key=_weight):
        if len({repr(row.get(key)) for row in rows}) > 1:
            # The teacher's width follows the student's, and the scheduler's max_lr the optimiser's lr.
            name = key.rpartition(".")[2].removeprefix("max_")
            found.setdefault((name, *(in_words(row.get(key)) for row in rows)), key)
    return list(found.values())


def _weight(key: str) -> tuple[int, str]:
    first = key.partition(".")[0]
    return (_FIRST.index(first) if first in _FIRST else len(_FIRST), key)


def short(key: str) -> str:
    """Returns a dotted key as labels show it: its last part, or two where one says too little."""
    parts = key.removesuffix("._target_").split(".")
    return ".".join(parts[-2:] if parts[-1] in _VAGUE or parts[0] == "teacher" else parts[-1:])


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
