"""The grid of λ_TS and λ_FS: students that differ in the weights of the two distillation terms only."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.table2 import base_command

TERMS: Final = ("objective.ts", "objective.fs")
"""The terms that learn from the teacher, as conf/objective/distillation.yaml calls them."""

_TEACHER: Final = "teacher"
_FEWEST: Final = 3  # two cells are a comparison, which the effects show


@dataclass(frozen=True)
class LambdaGrid:
    """Rows by their weights.

    Attributes:
        method: What the distilled rows are called.
        rows: `rows[λ_TS, λ_FS]`.
    """

    method: str
    rows: Mapping[tuple[float, float], Row]

    @property
    def ts(self) -> list[float]:
        """The weights λ_TS that occur, ascending; 0 is always among them."""
        return sorted({0.0, *(ts for ts, _ in self.rows)})

    @property
    def fs(self) -> list[float]:
        """The weights λ_FS that occur, ascending; 0 is always among them."""
        return sorted({0.0, *(fs for _, fs in self.rows)})


class _Student(NamedTuple):
    """A row as a grid sees it; `how` is None of a part that its weights switch off."""

    row: Row
    weights: tuple[float, float]
    how: tuple[Any, Any, Any]  # the schedules of both terms, and the teacher


def lambda_grids(rows: Sequence[Row]) -> list[LambdaGrid]:
    """Returns the grids that rows make: three or more students that differ in λ_TS and λ_FS only.

    A student without distillation has the weights 0 and 0, whatever its configuration says of terms it does not have;
    it belongs to every grid of its other settings.
    """
    alike: dict[str, list[_Student]] = {}
    for row in rows:
        if not row.reads_parsing:
            own = {key: value for key, value in row.settings.items() if not _within(key, (*TERMS, _TEACHER))}
            alike.setdefault(repr(sorted(own.items())), []).append(_student(row))
    grids = []
    for students in alike.values():
        whole = {student.how: student for student in students}
        for how in whole:
            if not any(how != other and _fits(how, other) for other in whole):
                found = {each.weights: each.row for each in students if _fits(each.how, how)}
                taught = [weights for weights in found if any(weights)]
                if taught and len(found) >= _FEWEST:
                    grids.append(LambdaGrid(found[max(taught)].method, found))
    return grids


def commands(grid: LambdaGrid) -> list[str]:
    """Returns the command lines that run the cells which are empty."""
    taught = grid.rows[max(grid.rows)].best  # the plain student's command may name an objective without the terms
    base = base_command(taught, [f"{term}.weight" for term in TERMS])
    return [
        shlex.join([*base, f"objective.ts.weight={ts:g}", f"objective.fs.weight={fs:g}"])
        for ts in grid.ts
        for fs in grid.fs
        if (ts, fs) not in grid.rows
    ]


def _student(row: Row) -> _Student:
    taught = bool(row.runs) and row.runs[0].teacher is not None
    weights = [float(row.settings.get(f"{term}.weight") or 0) if taught else 0.0 for term in TERMS]
    how = [_own(row, term, f"{term}.weight") if weight else None for term, weight in zip(TERMS, weights, strict=True)]
    return _Student(row, (weights[0], weights[1]), (how[0], how[1], _own(row, _TEACHER) if taught else None))


def _own(row: Row, parent: str, *dropped: str) -> str:
    return repr(
        sorted((key, row.settings[key]) for key in row.settings if _within(key, (parent,)) and key not in dropped)
    )


def _within(key: str, parents: Sequence[str]) -> bool:
    return any(key.startswith(f"{parent}.") for parent in parents)


def _fits(part: tuple[Any, Any, Any], whole: tuple[Any, Any, Any]) -> bool:
    return all(mine is None or mine == theirs for mine, theirs in zip(part, whole, strict=True))
