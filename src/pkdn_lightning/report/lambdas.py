"""The grid of λ_TS and λ_FS: students that differ in the weights of the two distillation terms only."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pkdn_lightning.config.training_keys import within
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.table2 import base_command

TERMS: Final = ("objective.ts", "objective.fs")
"""The terms that learn from the teacher, as conf/objective/distillation.yaml calls them."""

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
    alike: dict[str, list[_Student]] = {}
    for row in rows:
        if not row.reads_parsing:
            own = {key: value for key, value in row.settings.items() if not within(key, (*TERMS, "teacher"))}
            alike.setdefault(repr(sorted(own.items())), []).append(_student(row))
    grids = []
    for students in alike.values():
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
    distilled = grid.rows[max(grid.rows)].best  # the plain student's command may name an objective without the terms
    base = base_command(distilled, [f"{term}.weight" for term in TERMS])
    return [
        shlex.join([*base, f"objective.ts.weight={ts:g}", f"objective.fs.weight={fs:g}"])
        for ts in grid.ts
        for fs in grid.fs
        if (ts, fs) not in grid.rows
    ]


def _student(row: Row) -> _Student:
    ts, fs = (float(row.settings.get(f"{term}.weight") or 0) if row.distilled else 0.0 for term in TERMS)
    others = [_settings_of(row, term) if weight else None for term, weight in zip(TERMS, (ts, fs), strict=True)]
    return _Student(row, (ts, fs), (*others, _settings_of(row, "teacher") if row.distilled else None))


def _settings_of(row: Row, parent: str) -> str:
    items = row.settings.items()
    return repr(sorted((key, value) for key, value in items if within(key, [parent]) and key != f"{parent}.weight"))


def _agree(part: Sequence[str | None], whole: Sequence[str | None]) -> bool:
    return all(own is None or own == other for own, other in zip(part, whole, strict=True))
