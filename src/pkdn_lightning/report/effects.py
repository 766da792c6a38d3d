"""Effects of single settings: rows of one network that differ from a reference in one setting."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pkdn_lightning.config.training_keys import within
from pkdn_lightning.report.lambdas import TERMS
from pkdn_lightning.report.methods import BLOCKS
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.settings import differing, in_words, short


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
    before, after, ignored = base.settings, row.settings, tuple[str, ...]()
    changes = []
    if base.distilled != row.distilled:
        changes.append(f"distillation: {_presence(base.distilled)}")
        ignored = ("teacher", *TERMS)  # a student without a teacher lacks all of these
    # All pairs of rows come here, and few of their many keys differ: only those are compared in detail.
    keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    keys = [key for key in keys if not within(key, ignored)]
    keys = differing([{key: settings.get(key) for key in keys} for settings in (before, after)])
    for term in {key.split(".")[1]: key for key in keys if key.startswith("objective.")}:
        has = [f"objective.{term}.weight" in settings for settings in (before, after)]
        if has[0] != has[1]:  # a term that one of them lacks is one change, not one for each of its keys
            keys = [key for key in keys if not within(key, [f"objective.{term}"])]
            changes.append(f"objective.{term}: {_presence(has[0])}")
    return [*changes, *(f"{short(key)}: {in_words(before.get(key))} → {in_words(after.get(key))}" for key in keys)]


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
