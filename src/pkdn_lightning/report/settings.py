"""What tells one training from another: the keys of a configuration that change what is learned."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pkdn_lightning.config.training_keys import affects_training, flatten, within
from pkdn_lightning.report.methods import class_name

# Besides what changes nothing at all: a row has runs of several seeds, and the teacher and the data are compared by
# what they are, not by where they lie.
_ALIKE: Final = ("seed", "experiment", "method", "size", "teacher", "data.name", "data.store", "module.init_from")
_FIRST: Final = ("model", "teacher", "objective", "module", "data", "optimizer", "scheduler", "trainer", "callbacks")
_VAGUE: Final = ("weight", "schedule", "duration", "unit", "start", "_target_", "normalised", "levels", "pfb", "ffb")
_SHOWN: Final = 3
_LONGEST: Final = 18


def settings(config: Mapping[str, Any], *, teacher: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a run has in common with the same training under another seed, by dotted key.

    Args:
        config: The run's resolved configuration.
        teacher: The network it learned from, and `trainer`, the length of its training; empty if there was none.
        data: Name and hash of the store it was trained on.
    """
    # A student that nobody taught is the same, whatever its configuration says of terms that weigh nothing.
    silent = (
        [] if teacher else [f"objective.{name}" for name, term in config["objective"].items() if not term["weight"]]
    )
    flat = {key: value for key, value in flatten(config) if _counts(key) and not within(key, silent)}
    flat |= {f"teacher.{key}": value for key, value in flatten(teacher)}
    flat["data.train"] = f"{data.get('name')} {str(data.get('sha256'))[:8]}"
    devices = config["trainer"].get("devices")
    flat["trainer.devices"] = devices if isinstance(devices, int) and devices > 0 else 1  # as the batch is counted
    flat["module.init_from"] = bool(config["module"].get("init_from"))
    return flat


def labels(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Returns short names for rows, none of them twice.

    Args:
        rows: Method and settings of each. A method that comes once is its own name; the others are told apart by up to
            three of the keys in which they differ.
    """
    names = []
    for method, own in rows:
        keys = differing([each for name, each in rows if name == method])[:_SHOWN]
        shown = ", ".join(f"{short(key)}={in_words(own.get(key))}" for key in keys)
        names.append(f"{method} ({shown})" if keys else method)
    repeated = {name for name in names if names.count(name) > 1}
    count: dict[str, int] = {}
    for place, name in enumerate(names):
        if name in repeated:
            count[name] = count.get(name, 0) + 1
            names[place] = f"{name} #{count[name]}"
    return names


def differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the keys in which rows differ, the most telling first; keys that say the same come once."""
    found: dict[tuple[str, ...], str] = {}
    keys = sorted({key for row in rows for key in row}, key=_weight)
    for key in keys:
        if len({repr(row.get(key)) for row in rows}) > 1:
            # The teacher's width follows the student's, and the scheduler's max_lr the optimiser's lr.
            name = key.rpartition(".")[2].removeprefix("max_")
            found.setdefault((name, *(in_words(row.get(key)) for row in rows)), key)
    return list(found.values())


def _counts(key: str) -> bool:
    return affects_training(key) and not within(key, _ALIKE)


def _weight(key: str) -> tuple[int, str]:
    first = key.partition(".")[0]
    return (_FIRST.index(first) if first in _FIRST else len(_FIRST), key)


def short(key: str) -> str:
    """Returns a dotted key as rows are labelled with it: its last part, or two where one says too little."""
    parts = key.removesuffix("._target_").split(".")
    return ".".join(parts[-2:] if parts[-1] in _VAGUE or parts[0] == "teacher" else parts[-1:])


def in_words(value: Any) -> str:
    """Returns a setting as rows are labelled with it; classes by their names, long ones cut."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping) and not value:
        return "none"
    word = class_name(value) if isinstance(value, str) and value.startswith(("pkdn_lightning.", "torch.")) else ""
    word = word or str(value).replace(", ", ",")
    return word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…"
