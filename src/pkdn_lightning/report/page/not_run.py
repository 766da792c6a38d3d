"""What was not run, and the command lines that would run it."""

import shlex
from collections.abc import Sequence
from typing import Final, NamedTuple

from pkdn_lightning.config import data_and_size
from pkdn_lightning.report.lambdas import LambdaGrid
from pkdn_lightning.report.lambdas import commands as lambda_commands
from pkdn_lightning.report.methods import STUDENT
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.table1 import Subject
from pkdn_lightning.report.table2 import base_command

_SEEDS: Final = 3
_MOST: Final = 16


class Missing(NamedTuple):
    """Something that the report would show if it had been run.

    Attributes:
        what: In words.
        commands: Command lines that would run it.
    """

    what: str
    commands: tuple[str, ...]


def missing(subject: Subject, grids: Sequence[LambdaGrid], table2: Sequence[str]) -> list[Missing]:
    """Returns what the report lacks.

    Args:
        subject: What the report is about.
        grids: The λ grids.
        table2: The command lines that fill Table 2.
    """
    found = [
        _limited(
            "Methods of the paper that were not run", [_method_command(subject, each) for each in _absent(subject)]
        ),
        _limited("Teachers of Table 2 without a student", table2),
        *(_limited(f"Empty cells of the λ grid of {grid.method}", lambda_commands(grid)) for grid in grids),
        _limited("Rows of a single seed, which have no ± over trainings", _seed_commands(subject.rows)),
    ]
    return [each for each in found if each.commands]


def _limited(what: str, commands: Sequence[str]) -> Missing:
    kept = tuple(dict.fromkeys(commands))
    return Missing(f"{what} ({_MOST} of {len(kept)})" if len(kept) > _MOST else what, kept[:_MOST])


def _absent(subject: Subject) -> list[str]:
    run = {row.method for row in subject.rows}
    published = (method for name in subject.scores for method in subject.published(name))
    return [method for method in dict.fromkeys(published) if method not in run and method != "bicubic"]


def _method_command(subject: Subject, method: str) -> str:
    """Returns the command that trains a method on the data, with the size, recipe and length of the reported runs."""
    reference = next(row for row in subject.rows if row.label == subject.reference).best
    experiment = "student" if method == STUDENT else method.lower()
    recipe = [word for word in base_command(reference) if word.startswith("recipe=")]
    steps = {int(run.results["steps"]) for row in subject.rows for run in row.runs}
    budget = [f"trainer.max_steps={next(iter(steps))}"] if len(steps) == 1 else []
    return shlex.join(["pkdn", "train", f"experiment={experiment}", *data_and_size(reference.config), *recipe, *budget])


def _seed_commands(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        if len(row.runs) == 1 and not row.reads_parsing:
            verb, *words = base_command(row.best)[1:]
            others = [str(seed) for seed in range(_SEEDS) if seed != row.best.seed][: _SEEDS - 1]
            found.append(shlex.join(["pkdn", verb, "-m", *words, f"seed={','.join(others)}"]))
    return found
