"""Effects of single settings: rows of one network that differ from a reference in one setting."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pkdn_lightning.config.training_keys import flatten, within
from pkdn_lightning.report.lambdas import TERMS
from pkdn_lightning.report.methods import BLOCKS
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.settings import OF_START, OF_TEACHER, START, TEACHER_NAME, differing, in_words, short, told

_MAPS: Final = "data.parsing_"  # what the keys of damaged and of absent maps begin with, also below the teacher's


class Effect(NamedTuple):
    """A row that differs from a reference in one setting, and that setting with both values, in words."""

    row: Row
    setting: str


class Family(NamedTuple):
    """A reference, and the rows that differ from it in one setting, or in the teacher's PFB and FFB alone."""

    reference: Row
    effects: tuple[Effect, ...]


def families(rows: Sequence[Row], preferred: str) -> list[Family]:
    """Returns families of rows, each row being an effect once at most.

    The preferred reference comes first, if any row differs from it in one setting; then the references of most rows.

    Args:
        rows: All rows.
        preferred: Label of the report's reference.
    """
    effects = {row.label: _effects(row, rows) for row in rows}
    remaining = {row.label: row for row in rows}
    found: list[Family] = []
    while remaining:
        left = {label: [each for each in effects[label] if each.row.label in remaining] for label in remaining}

        def suitability(label: str, left: Mapping[str, Sequence[Effect]] = left) -> tuple[bool, int, bool]:
            return bool(left[label]) and label == preferred, len(left[label]), "without" not in remaining[label].method

        best = max(remaining, key=suitability)
        if not left[best]:
            break
        found.append(Family(remaining[best], tuple(left[best])))
        for label in (best, *(effect.row.label for effect in left[best])):
            del remaining[label]
    return found


def changed(base: Row, row: Row) -> list[str]:
    """Returns the settings in which a row differs from another, in words, without those that follow from another."""
    before, after, ignored = base.settings, row.settings, (*base.idle, *row.idle)
    changes = []
    if base.distilled != row.distilled:
        changes += [f"distillation: {_presence(base.distilled)}", *_maps(base, row)]
        ignored += (OF_TEACHER, *TERMS)  # a student without a teacher lacks all of these
    if not (before.get(START) and after.get(START)):
        ignored += (OF_START,)
    if not (TEACHER_NAME in before and TEACHER_NAME in after):
        ignored += (TEACHER_NAME,)
    # All pairs of rows come here, and few of their many keys differ: only those are compared in detail.
    keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    keys = [key for key in keys if not within(key, ignored)]
    keys = differing([{key: own[key] for key in keys if key in own} for own in (before, after)])
    for weight in [f"objective.{key.split('.')[1]}.weight" for key in keys if key.startswith("objective.")]:
        if (weight in before) != (weight in after):  # a term that one of them lacks is one change: of its weight
            keys = [key for key in keys if key == weight or not within(key, [weight.removesuffix(".weight")])]
    return [*changes, *(f"{short(key)}: {told(before, key)} → {told(after, key)}" for key in keys)]


def _maps(base: Row, row: Row) -> list[str]:
    """Returns how the maps that the teacher of one row sees differ from those that the other's configuration names.

    Students of teachers that see other maps are compared with one another, not with the student without a teacher.
    """
    plain, taught = (row, base) if base.distilled else (base, row)
    given = dict(flatten(plain.runs[0].config["data"], "data."))
    seen = {key.removeprefix(f"{OF_TEACHER}."): value for key, value in taught.settings.items()}
    other = {key: value for key, value in seen.items() if key.startswith(_MAPS) and given[key] != value}
    return [f"{short(key)}: {in_words(value)}" for key, value in other.items()]


def _presence(before: bool) -> str:
    return "with → without" if before else "without → with"


def _effects(base: Row, rows: Sequence[Row]) -> list[Effect]:
    found = []
    for row in rows:
        if row is base or row.settings.get("model._target_") != base.settings.get("model._target_"):
            continue
        changes = changed(base, row)
        # One line of Table 2 switches off both blocks of a teacher at once.
        if len(changes) == 1 or (changes and all(_is_block(change) for change in changes)):
            found.append(Effect(row, ", ".join(changes)))
    return found


def _is_block(change: str) -> bool:
    return change.partition(":")[0].rpartition(".")[2] in BLOCKS
