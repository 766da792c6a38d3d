"""Runs of equal settings, and among them those of equal sources: the runs of a row, with all that were run again."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from pkdn_lightning.report.run import Run, Source
from pkdn_lightning.report.settings import START, TEACHER_NAME, Settings

OWN: Final = "each seed's own"
"""The name of the sources of a row whose runs each have one of their own seed."""

_SourceOf = Callable[[Run], Source | None]


class Group(NamedTuple):
    """Runs of one method, of equal settings and, where it matters, of equal sources."""

    method: str
    settings: Settings
    runs: list[Run]  # newest first


def groups_of(runs: Iterable[Run]) -> list[Group]:
    """Returns groups of runs, which come newest first.

    Seeds may share a teacher or have one each. If some seed has runs of several teachers, those that teach several
    seeds, or are of another seed than their student, have a group of their own; teachers of their student's seed stay
    together. The same holds for the networks that first weights were copied from.
    """
    found: dict[tuple[str, str], Group] = {}
    for run in runs:
        key = (run.method, repr(sorted(run.settings.values.items())))
        found.setdefault(key, Group(run.method, run.settings, [])).runs.append(run)
    groups = _split([*found.values()], TEACHER_NAME, lambda run: run.teacher)
    return _split(groups, START, lambda run: run.start)


def _split(groups: Sequence[Group], key: str, source_of: _SourceOf) -> list[Group]:
    """Splits groups by their sources, and names these under `key` wherever sources of such settings were told apart."""
    found, told_apart = list[Group](), set[str]()
    for group in groups:
        parts: dict[str, list[Run]] = {}
        for run, share in zip(group.runs, _shares(group.runs, source_of), strict=True):
            parts.setdefault(share, []).append(run)
        found += [group._replace(runs=runs) for runs in parts.values()]
        if len(parts) > 1:
            told_apart.add(_kind(group, source_of))
    named = [group for group in found if _kind(group, source_of) in told_apart]
    names = tails(source.place for group in named for run in group.runs if (source := source_of(run)))
    return [_named(group, key, source_of, names) if group in named else group for group in found]


def _shares(runs: Sequence[Run], source_of: _SourceOf) -> list[str]:
    """Returns for each run of a group the source that it shares with others; empty for one of its own seed."""
    sources = [source_of(run) for run in runs]
    seeds: dict[str, set[int]] = {}
    for run, source in zip(runs, sources, strict=True):
        seeds.setdefault(source.content if source else "", set()).add(run.seed)
    if sum(map(len, seeds.values())) == len({run.seed for run in runs}):
        return [""] * len(runs)  # no seed has several
    own = [
        source is None or (len(seeds[source.content]) == 1 and source.seed == run.seed)
        for run, source in zip(runs, sources, strict=True)
    ]
    return ["" if is_own or not source else source.content for is_own, source in zip(own, sources, strict=True)]


def _kind(group: Group, source_of: _SourceOf) -> str:
    """Returns the settings of a group's sources, which are equal, to compare; empty if it has none."""
    source = source_of(group.runs[0])
    return repr(sorted(source.settings.values.items())) if source else ""


def _named(group: Group, key: str, source_of: _SourceOf, names: dict[Path, str]) -> Group:
    own = {names[source.place] for run in group.runs if (source := source_of(run))}
    values = {**group.settings.values, key: own.pop() if len(own) == 1 else OWN}
    return group._replace(settings=group.settings._replace(values=values))


def tails(places: Iterable[Path]) -> dict[Path, str]:
    """Returns the shortest ends of paths that tell them apart, all of the same number of parts.

    Example:
        >>> [*tails([Path("runs/a/0"), Path("runs/b/0")]).values()]
        ['a/0', 'b/0']
    """
    found, parts = list(dict.fromkeys(places)), 1
    while len({place.parts[-parts:] for place in found}) < len(found):
        parts += 1
    return {place: "/".join(place.parts[-parts:]) for place in found}
