"""The grid of λ_TS and λ_FS: students that differ in the weights of the two distillation terms only."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pkdn_lightning.config.training_keys import within
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.settings import OF_TEACHER
from pkdn_lightning.report.table2 import base_command, seeds, with_seeds

TERMS: Final = ("objective.ts", "objective.fs")
"""The terms that learn from the teacher, as conf/objective/distillation.yaml calls them."""

_FEATURES: Final = ("module.features", f"{OF_TEACHER}.features")  # which only the second of them reads
_FEWEST: Final = 3  # two cells are a comparison, which the effects show


class LambdaGrid(NamedTuple):
    """Rows by their weights, and the method of the distilled ones."""

    method: str
    rows: Mapping[tuple[float, float], Row]  # [λ_TS, λ_FS]

    @property
    def ts(self) -> list[float]:
        """The weights λ_TS that occur, ascending; 0 is always among them."""
        return sorted({0.0, *(ts for ts, _ in self.rows)})

    @property
    def fs(self) -> list[float]:
        """The weights λ_FS that occur, ascending; 0 is always among them."""
        return sorted({0.0, *(fs for _, fs in self.rows)})


class _Student(NamedTuple):
    """A row, its weights, and its other settings of each term and of the teacher: None where a weight is 0."""

    row: Row
    weights: tuple[float, float]
    others: tuple[str | None, ...]


def lambda_grids(rows: Sequence[Row]) -> list[LambdaGrid]:
    """Returns the grids that rows form: three or more students that differ in λ_TS and λ_FS only.

    A student without distillation has the weights 0 and 0, whatever its configuration says of terms it does not have;
    it belongs to every grid of its other settings.
    """
    rows = [row for row in rows if not row.reads_parsing]
    plain, alike = [row for row in rows if not row.distilled], dict[str, list[Row]]()
    for row in rows:
        if row.distilled:
            alike.setdefault(repr(sorted(_own(row).items())), []).append(row)
    grids = []
    for distilled in alike.values():
        first = distilled[0]
        joining = [row for row in plain if _own(row, first.idle) == _own(first, row.idle)]
        students = [_student(row) for row in (*distilled, *joining)]
        variants = list(dict.fromkeys(student.others for student in students))
        for others in variants:
            if any(others != variant and _agree(others, variant) for variant in variants):
                continue  # its rows are part of that variant's grid
            found = {each.weights: each.row for each in students if _agree(each.others, others)}
            if len(found) >= _FEWEST and any(map(any, found)):
                grids.append(LambdaGrid(found[max(weights for weights in found if any(weights))].method, found))
    return grids


def commands(grid: LambdaGrid) -> list[str]:
    """Returns the command lines that run the cells which are empty."""
    distilled = grid.rows[max(grid.rows)]  # the plain student's command may name an objective without the terms
    base = base_command(distilled, [f"{term}.weight" for term in TERMS])
    return [
        with_seeds([*base, f"objective.ts.weight={ts:g}", f"objective.fs.weight={fs:g}"], seeds(distilled))
        for ts in grid.ts
        for fs in grid.fs
        if (ts, fs) not in grid.rows
    ]


def _own(row: Row, ignored: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the settings of a student but for those of the terms and of the teacher."""
    ignored = (*TERMS, OF_TEACHER, *_FEATURES, *ignored)
    return {key: value for key, value in row.settings.items() if not within(key, ignored)}


def _student(row: Row) -> _Student:
    ts, fs = (float(row.settings.get(f"{term}.weight") or 0) if row.distilled else 0.0 for term in TERMS)
    image, features = (_settings_of(row, TERMS[0]), _settings_of(row, TERMS[1], *_FEATURES))
    teacher = _settings_of(row, OF_TEACHER, but=_FEATURES)
    others = (image if ts else None, features if fs else None, teacher if row.distilled else None)
    return _Student(row, (ts, fs), others)


def _settings_of(row: Row, *parents: str, but: Sequence[str] = ()) -> str:
    but = (*but, *(f"{term}.weight" for term in TERMS))
    return repr(sorted(item for item in row.settings.items() if within(item[0], parents) and not within(item[0], but)))


def _agree(part: Sequence[str | None], whole: Sequence[str | None]) -> bool:
    return all(own is None or own == other for own, other in zip(part, whole, strict=True))
