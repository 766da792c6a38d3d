"""What was not run, and the command lines that would run it."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from pkdn_lightning.config import data_and_size
from pkdn_lightning.report.lambdas import LambdaGrid
from pkdn_lightning.report.lambdas import commands as lambda_commands
from pkdn_lightning.report.methods import STUDENT
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, Subject
from pkdn_lightning.report.table2 import base_command

_SEEDS: Final = 3


def not_run(subject: Subject, grids: Sequence[LambdaGrid], table2: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns what the report would show if it had been run, in words, with the command lines that would run it.

    Args:
        subject: What the report is about.
        grids: The λ grids.
        table2: The command lines that fill Table 2.
    """
    wanted = [
        ("Methods of the paper that were not run", _method_commands(subject)),
        ("Teachers of Table 2 without a student", table2),
        *((f"Empty cells of the λ grid of {grid.method}", lambda_commands(grid)) for grid in grids),
        ("Rows of a single seed, which have no ± over trainings", _seed_commands(subject.rows)),
    ]
    found = [(what, list(dict.fromkeys(commands))) for what, commands in wanted]
    return [(what, commands) for what, commands in found if commands]


def _method_commands(subject: Subject) -> Iterator[str]:
    """Yields the commands that train other methods on the data, with size, recipe and length of the reported runs."""
    reference = next(row for row in subject.rows if row.label == subject.reference).best
    recipe = [word for word in base_command(reference) if word.startswith("recipe=")]
    steps = {int(run.results["steps"]) for row in subject.rows for run in row.runs}
    budget = [f"trainer.max_steps={next(iter(steps))}"] if len(steps) == 1 else []
    published = dict.fromkeys(method for test_set in subject.scores for method in subject.published(test_set))
    for method in published:
        if method not in {BASELINE.method, *(row.method for row in subject.rows)}:
            experiment = "student" if method == STUDENT else method.lower()
            yield shlex.join(
                ["pkdn", "train", f"experiment={experiment}", *data_and_size(reference.config), *recipe, *budget]
            )


def _seed_commands(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if len(row.runs) == 1 and not row.reads_parsing:
            verb, *words = base_command(row.best)[1:]
            others = [str(seed) for seed in range(_SEEDS) if seed != row.best.seed][: _SEEDS - 1]
            yield shlex.join(["pkdn", verb, "-m", *words, f"seed={','.join(others)}"])
