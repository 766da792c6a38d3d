"""From run folders to rows: which runs there are, what each of them is, and which differ in their seed only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from pkdn_lightning.errors import CheckpointError, ConfigError, DataError
from pkdn_lightning.report.groups import groups_of
from pkdn_lightning.report.methods import parsing_maps, rank, taught_with
from pkdn_lightning.report.run import Run, read_run
from pkdn_lightning.report.settings import labels
from pkdn_lightning.report.sources import with_sources
from pkdn_lightning.runs import RunFolder, find_runs

_STRANGE_MAPS: Final = ("empty", "other")
"""Values of data.parsing_damage whose maps say nothing of the true face."""


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed only."""

    label: str  # the method, with the settings that tell it from other rows of that method
    method: str  # network and training scheme
    runs: tuple[Run, ...]  # one per seed, by seed; none for bicubic
    settings: Mapping[str, Any]  # what the runs share, by dotted key
    idle: tuple[str, ...] = ()  # keys that are not among the settings, because nothing reads them

    @property
    def damage(self) -> str:
        """What was done to the parsing maps, in training as in use."""
        return str(self.runs[0].config["data"]["parsing_damage"]) if self.runs else "none"

    @property
    def reads_parsing(self) -> bool:
        """Whether it sees the parsing map of the true face, damaged or not, which no comparable method does."""
        return bool(self.runs) and self.runs[0].reads_parsing and self.damage not in _STRANGE_MAPS

    @property
    def taught_with(self) -> str:
        """What the method saw in training besides LR and HR faces, in words; empty if nothing."""
        if not self.runs:
            return ""
        first = self.runs[0]
        if first.reads_parsing:
            return f"{parsing_maps(first.config)}, which it also sees in use"
        return taught_with(first.config, first.teacher.network if first.teacher else None)

    @property
    def distilled(self) -> bool:
        """Whether it learned from a teacher."""
        return bool(self.runs) and self.runs[0].teacher is not None

    @property
    def steps(self) -> str:
        """Training steps, in words; a range where runs differ."""
        steps = sorted({int(run.results["steps"]) for run in self.runs})
        return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"

    @property
    def best(self) -> Run:
        """The run that validated best."""
        return max(self.runs, key=lambda run: run.validation)


class LeftOut(NamedTuple):
    """A run that is not in the tables, and why."""

    path: Path
    reason: str


class Collected(NamedTuple):
    """What was found below a folder."""

    rows: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]


def collect(root: str | Path) -> Collected:
    """Groups the finished runs below a folder into rows, and lists the runs that are in none.

    Raises:
        ConfigError: If there is no such folder, or no finished run in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ConfigError(f"There is no folder {root}. Name the one that the run folders lie in: pkdn report runs=runs")
    left_out = list(_unfinished(root))
    runs: list[Run] = []
    for folder in find_runs(root):
        try:
            runs.append(read_run(folder))
        except (DataError, CheckpointError) as error:
            left_out.append(LeftOut(folder.path, " ".join(str(error).split())))
    if not runs:
        if not left_out:
            raise ConfigError(f"There is no run in {root}. Start one: pkdn train experiment=demo")
        raise ConfigError(
            f"None of the {len(left_out)} runs in {root} can be reported. The first one, {left_out[0].path}: "
            f"{left_out[0].reason}"
        )
    rows, superseded = _group(with_sources(runs))
    return Collected(rows, tuple(sorted([*left_out, *superseded])))


def _unfinished(root: Path) -> Iterator[LeftOut]:
    for file in sorted(root.rglob("run.json")):
        run = RunFolder(file.parent)
        if not run.finished:
            unknown = (
                "its results.json cannot be read" if run.results.is_file() else "it is still running, or it failed"
            )
            state = run.read_results().get("status", f"not finished: {unknown}")
            way_on = f"; go on with: pkdn train resume={run.path}" if run.last.is_file() else ""
            yield LeftOut(run.path, f"{state}{way_on}")


def _group(runs: Sequence[Run]) -> tuple[tuple[Row, ...], list[LeftOut]]:
    """Returns the rows of runs, which come newest first, and the runs that a newer one replaces."""
    groups, superseded = groups_of(runs), list[LeftOut]()
    found = []
    for group in groups:
        newest: dict[int, Run] = {}
        for run in group.runs:
            if newest.setdefault(run.seed, run) is not run:
                superseded.append(LeftOut(run.folder.path, _why_replaced(run, newest[run.seed])))
        found.append((group, tuple(run for _, run in sorted(newest.items()))))
    found.sort(key=lambda each: (*_order(each[0].method, each[1]), repr(sorted(each[0].settings.values.items()))))
    names = labels([(group.method, group.settings.values) for group, _ in found])
    rows = [Row(name, group.method, own, *group.settings) for name, (group, own) in zip(names, found, strict=True)]
    shown = {run.folder.path for row in rows for run in row.runs}
    return tuple(rows), list({each.path: each for each in superseded if each.path not in shown}.values())


def _order(method: str, runs: Sequence[Run]) -> tuple[tuple[int, str], int]:
    return rank(method), max(int(run.results["steps"]) for run in runs)


def _why_replaced(older: Run, newer: Run) -> str:
    if older.sha256 == newer.sha256 and older.results.get("id", older) == newer.results.get("id", newer):
        return f"a copy of {newer.folder.path}"
    reason = f"an older run of the settings and the seed of {newer.folder.path}"
    if older.teacher and newer.teacher and older.teacher.content != newer.teacher.content:
        return f"{reason}; it learned from another training of the teacher"
    if older.start and newer.start and older.start.content != newer.start.content:
        return f"{reason}; it began with another training of the network that weights were copied from"
    return reason
