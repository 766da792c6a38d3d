"""The contents of a report, from which its files are written."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pkdn_lightning.report.faces import Figure
from pkdn_lightning.report.rows import LeftOut
from pkdn_lightning.report.scores import Subject
from pkdn_lightning.report.tables import Table


class Report(NamedTuple):
    """What a report shows, and the folder of its files."""

    folder: Path
    subject: Subject
    table1: tuple[Table, ...]  # a table per test set, and the costs
    atlas: Mapping[str, Table]  # published beside measured values, by test set; only where something was published
    table2: tuple[Table, ...]  # a table per test set
    figure: Figure
    runs: Table  # the runs behind the rows
    left_out: tuple[LeftOut, ...]  # the runs that are in no row
    command: str  # makes the report again


class TaskReports(NamedTuple):
    """Reports of runs of several tasks, by the task's name, and the folder of their overview."""

    folder: Path
    reports: Mapping[str, Report]
