"""Runs of equal settings, and among them those of equal sources: the runs of a row, with all that were run again."""

from collections import Counter
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

    Seeds may share a teacher or have one each. If some seed has runs of several teachers, there is a group for each
    teacher of several seeds, or of another seed than its student; if there are others, one for all runs that learned
    from a teacher of their own seed. So a run can be in two. The same holds for networks that first weights were copied
    from.
    """
    found: dict[tuple[str, str], Group] = {}
    for run in runs:
        key = (run.method, repr(sorted(run.settings.values.items())))
        found.setdefault(key, Group(run.method, run.settings, [])).runs.append(run)
    groups = _split([*found.values()], TEACHER_NAME, lambda run: run.teacher)
    return _split(groups, START, lambda run: run.start)


def _split(groups: Sequence[Group], key: str, source_of: _SourceOf) -> list[Group]:
    """Splits groups by their sources, and names these under `key` wherever sources of such settings were told apart."""
    parts, told_apart = list[Group](), set[str]()
    for group in groups:
        found = _parts(group.runs, source_of)
        parts += [group._replace(runs=runs) for runs in found]
        if len(found) > 1:
            told_apart.add(_kind(group, source_of))
    named = [group for group in parts if _kind(group, source_of) in told_apart]
    names = _names(source for group in named for run in group.runs if (source := source_of(run)))

    def names_of(group: Group) -> set[str]:
        return {names[source.content] for run in group.runs if (source := source_of(run))}

    own: dict[str, set[str]] = {}  # by kind: the rows whose runs have sources of their own seed belong together
    for group in named:
        if not _shared(group, source_of):
            own.setdefault(_kind(group, source_of), set()).update(names_of(group))

    def name(group: Group) -> str:
        found = names_of(group) if _shared(group, source_of) else own[_kind(group, source_of)]
        return min(found) if len(found) == 1 else OWN

    return [_with(group, key, name(group)) if group in named else group for group in parts]


def _parts(runs: Sequence[Run], source_of: _SourceOf) -> list[list[Run]]:
    """Returns the runs of each row: together while no seed has several sources."""
    sources = [source_of(run) for run in runs]
    seeds: dict[str, set[int]] = {}
    for run, source in zip(runs, sources, strict=True):
        seeds.setdefault(source.content if source else "", set()).add(run.seed)
    if sum(map(len, seeds.values())) == len({run.seed for run in runs}):
        return [list(runs)]
    parts, own, alone = dict[str, list[Run]](), list[Run](), False
    for run, source in zip(runs, sources, strict=True):
        content, is_own = (source.content, source.seed == run.seed) if source else ("", True)
        shared = len(seeds[content]) > 1
        if shared or not is_own:
            parts.setdefault(content, []).append(run)
        if is_own:
            own.append(run)
            alone = alone or not shared
    return [*parts.values(), *([own] if alone else [])]


def _kind(group: Group, source_of: _SourceOf) -> str:
    """Returns the settings of a group's sources, which are equal, to compare; empty if it has none."""
    source = source_of(group.runs[0])
    return repr(sorted(source.settings.values.items())) if source else ""


def _shared(group: Group, source_of: _SourceOf) -> bool:
    """Returns whether the runs of a group have one source together, which is not that of a single run's own seed."""
    sources = [(run, source) for run in group.runs if (source := source_of(run))]
    one = len({source.content for _, source in sources}) == 1
    return one and (len({run.seed for run, _ in sources}) > 1 or sources[0][0].seed != sources[0][1].seed)


def _names(sources: Iterable[Source]) -> dict[str, str]:
    """Returns names of sources by their content: the ends of their paths, with a hash where one path held several."""
    places = {source.content: source.place for source in sources}
    ends, count = tails(places.values()), Counter(places.values())
    return {
        content: f"{ends[place]} {content[:6]}" if count[place] > 1 else ends[place]
        for content, place in places.items()
    }


def _with(group: Group, key: str, value: str) -> Group:
    return group._replace(settings=group.settings._replace(values={**group.settings.values, key: value}))


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
