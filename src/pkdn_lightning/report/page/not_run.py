"""What was not run, and the command lines that would run it."""

from collections.abc import Iterator, Sequence
from typing import Final

from pkdn_lightning.config import data_and_size
from pkdn_lightning.report.lambdas import LambdaGrid
from pkdn_lightning.report.lambdas import commands as lambda_commands
from pkdn_lightning.report.methods import STUDENT
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, Subject
from pkdn_lightning.report.table2 import base_command, seeds, with_seeds

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
        ("Rows of a single seed, which have no ± over trainings", _seed_commands(subject)),
    ]
    found = [(what, list(dict.fromkeys(commands))) for what, commands in wanted]
    return [(what, commands) for what, commands in found if commands]


def _method_commands(subject: Subject) -> Iterator[str]:
    """Yields the commands that train other methods on the data, with size, recipe and length of the reported runs."""
    reference = _reference(subject)
    recipe = [word for word in base_command(reference) if word.startswith("recipe=")]
    steps = {int(run.results["steps"]) for row in subject.rows for run in row.runs}
    budget = [f"trainer.max_steps={next(iter(steps))}"] if len(steps) == 1 else []
    published = dict.fromkeys(method for test_set in subject.scores for method in subject.published(test_set))
    for method in published:
        if method not in {BASELINE.method, *(row.method for row in subject.rows)}:
            experiment = "student" if method == STUDENT else method.lower()
            data = data_and_size(reference.best.config)
            yield with_seeds(["pkdn", "train", f"experiment={experiment}", *data, *recipe, *budget], seeds(reference))


def _seed_commands(subject: Subject) -> Iterator[str]:
    """Yields the commands that give rows of a single seed those of the reference, or the first ones."""
    wanted = list(dict.fromkeys([*seeds(_reference(subject)), *range(_SEEDS)]))
    for row in subject.rows:
        if len(row.runs) == 1 and not row.reads_parsing:
            others = [seed for seed in wanted if seed != row.best.seed][: _SEEDS - 1]
            yield with_seeds(base_command(row), others)


def _reference(subject: Subject) -> Row:
    return next(row for row in subject.rows if row.label == subject.reference)
