"""What one setting is worth: rows of one network that differ from a reference in a single setting."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pkdn_lightning.report.comparison import RowScores, compare
from pkdn_lightning.report.lambdas import TERMS
from pkdn_lightning.report.measurements import Faces
from pkdn_lightning.report.methods import BLOCKS
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.settings import differing, in_words, short

DISTILLATION: Final = "distillation"
"""The setting that a student without a teacher differs in, though it lacks many keys."""


class Effect(NamedTuple):
    """A row that differs from the reference in one setting.

    Attributes:
        row: The row.
        setting: What it differs in, and the values before and after, in words.
    """

    row: Row
    setting: str


class Family(NamedTuple):
    """Rows around a reference.

    Attributes:
        reference: The row that the others are compared with.
        effects: The rows that differ from it in one setting, or in the teacher's PFB and FFB alone.
    """

    reference: Row
    effects: tuple[Effect, ...]


def families(rows: Sequence[Row], preferred: str) -> list[Family]:
    """Returns the families that rows make, each row being an effect once at most.

    The preferred reference comes first, if it has relatives; then the rows that have most of them.

    Args:
        rows: All rows.
        preferred: Label of the report's reference.
    """
    near = {row.label: _near(row, rows) for row in rows}
    whole = {row.label for row in rows if "without" not in row.method}

    def worth(label: str, effects: int) -> tuple[bool, int, bool]:
        return effects > 0 and label == preferred, effects, label in whole

    left = {row.label for row in rows}
    found: list[Family] = []
    while True:
        open_ = {
            label: [effect for effect in near[label] if effect.row.label in left and effect.row.label != label]
            for label in near
            if label in left
        }
        best = max(open_, key=lambda label: worth(label, len(open_[label])), default=None)
        if best is None or not open_[best]:
            return found
        reference = next(row for row in rows if row.label == best)
        found.append(Family(reference, tuple(open_[best])))
        left -= {best, *(effect.row.label for effect in open_[best])}


def family_scores(
    family: Family, measured: Mapping[str, Mapping[str, Sequence[Faces]]], test_set: str, *, seed: int
) -> dict[str, RowScores]:
    """Returns how a family's rows stand against its reference on a test set, by label; see `comparison.compare`."""
    labels = [family.reference.label, *(effect.row.label for effect in family.effects)]
    return compare({label: measured[label] for label in labels}, family.reference.label, test_set, seed=seed)


def _near(base: Row, rows: Sequence[Row]) -> list[Effect]:
    found = []
    for row in rows:
        if row is base or row.settings.get("model._target_") != base.settings.get("model._target_"):
            continue
        changes = changed(base, row)
        # Table 2 switches off both blocks of a teacher at once in one of its lines.
        if len(changes) == 1 or (changes and all(_is_block(change) for change in changes)):
            found.append(Effect(row, ", ".join(changes)))
    return found


def _is_block(change: str) -> bool:
    return change.partition(":")[0].rpartition(".")[2] in BLOCKS


def changed(base: Row, row: Row) -> list[str]:
    """Returns the settings in which a row differs from another, in words; what follows from another one is not told."""
    before, after = base.settings, row.settings
    changes = []
    taught = [bool(each.runs) and each.runs[0].teacher is not None for each in (base, row)]
    dropped: tuple[str, ...] = ()
    if taught[0] != taught[1]:
        changes.append(f"{DISTILLATION}: {'with → without' if taught[0] else 'without → with'}")
        dropped = ("teacher", *TERMS)

    def kept(settings: Mapping[str, object]) -> dict[str, object]:
        return {key: value for key, value in settings.items() if not key.startswith(tuple(f"{d}." for d in dropped))}

    keys = differing([kept(before), kept(after)])
    terms = {key.split(".")[1]: key for key in keys if key.startswith("objective.")}
    for term in terms:  # a term that one of them lacks is one change, not one for each of its keys
        has = [any(key.startswith(f"objective.{term}.") for key in each) for each in (before, after)]
        if has[0] != has[1]:
            keys = [key for key in keys if not key.startswith(f"objective.{term}.")]
            changes.append(f"objective.{term}: {'with → without' if has[0] else 'without → with'}")
    return [*changes, *(f"{short(key)}: {in_words(before.get(key))} → {in_words(after.get(key))}" for key in keys)]
