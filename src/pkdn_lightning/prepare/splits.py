"""Which photographs train, validate and test: by stated rules and a fixed seed, no identity in two splits.

A photograph's place in a seeded order is the SHA-256 of the seed and its name; it depends neither on the file system
nor on the other photographs.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.console import console, counted
from pkdn_lightning.data.store import SPLITS, Entry
from pkdn_lightning.errors import DataError, did_you_mean

_RESERVE: Final = 1.1  # photographs set aside for a split beyond its number, to take the place of rejected ones
_AT_MOST: Final = 0.1  # share of all photographs that validation and test take, each
_SHOWN: Final = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph that may become a face.

    Attributes:
        entry: Its row in the index. Before splits are made, `split` is the publisher's, or empty.
        file: Where it is.
        points: (n, 2) float32 landmarks in its pixels, where the publisher gives them.
    """

    entry: Entry
    file: str
    points: NDArray[np.float32] | None = None


def seeded_order(items: Iterable[T], seed: int, name: Callable[[T], str]) -> list[T]:
    """Returns items in the order of the SHA-256 of `<seed>:<name>`."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{name(item)}".encode(errors="replace")).digest())


def reserve(count: int) -> int:
    """Returns how many photographs are set aside for a split of `count` faces."""
    return int(count * _RESERVE) + 10 if count else 0


def split_by_identity(
    photographs: Sequence[Photograph], counts: Mapping[str, int | None], seed: int
) -> list[Photograph]:
    """Returns all photographs with a split each; an identity, or a file where it is unknown, lies in one split only.

    Identities are taken in the seeded order: first by test, then by validation, as many as `held_out` says; the rest is
    for training.

    Args:
        photographs: In the publisher's order.
        counts: Faces wanted for `train`, `val` and `test`; None or nothing for no number.
        seed: Another seed gives other splits.

    Raises:
        DataError: If there are too few people to leave one for training.
    """
    groups = [photo.entry.identity or f"file {photo.entry.name}" for photo in photographs]
    sizes, set_aside = Counter(groups), held_out(len(photographs), counts)
    walk, split_of = iter(seeded_order(sizes, seed, str)), {}
    for split, wanted in set_aside.items():
        taken = 0
        while taken < wanted and (group := next(walk, None)) is not None:
            split_of[group] = split
            taken += sizes[group]
    people = {photo.entry.identity for photo in photographs} - {""}
    if people and counts.get("train") != 0 and len(split_of) == len(sizes):
        raise DataError(
            f"The photographs show too few people, so none is left for training: nobody is in two splits, and test and "
            f"validation take {len(people)} known, {', '.join(sorted(people)[:_SHOWN])}.\n"
            "Splits of your own: data.source.splits=<CSV with the columns name and split>. If each photograph of "
            "data=photos shows another person: data.source.identities=none"
        )
    return [with_split(photo, split_of.get(group, "train")) for photo, group in zip(photographs, groups, strict=True)]


def held_out(photographs: int, counts: Mapping[str, int | None]) -> dict[str, int]:
    """Returns how many photographs are set aside for test and for validation.

    Each gets its number and a tenth in reserve for rejected ones. If all photographs are wanted for training, that is
    at most a tenth of them, which is also the default. If training has a number, too, all three get theirs, and more
    than enough photographs serve as reserve, a third for each. Of too few, training gets its number first, but test and
    validation share what is left and get a tenth, or one, each.
    """
    tenth, train = int(photographs * _AT_MOST), counts.get("train")
    given = {split: counts.get(split) for split in ("test", "val")}
    if train is None:
        return {split: tenth if count is None else min(tenth, reserve(count)) for split, count in given.items()}
    wanted = {split: tenth if count is None else count for split, count in given.items()}
    total = train + sum(wanted.values())
    if total > photographs:
        left, others = max(photographs - train, 0), sum(wanted.values()) or 1
        least = max(tenth, int(photographs >= len(SPLITS)))
        return {split: max(count * left // others, min(count, least)) for split, count in wanted.items()}
    third = (photographs - total) // 3
    return {split: min(count + third, reserve(count)) for split, count in wanted.items()}


def with_split(photo: Photograph, split: str) -> Photograph:
    """Returns the photograph in another split."""
    return replace(photo, entry=replace(photo.entry, split=split))


def by_split(photographs: Iterable[Photograph], counts: Mapping[str, int | None], seed: int) -> list[Photograph]:
    """Returns photographs split by split; a split of which only some are wanted in the seeded order."""
    photographs, ordered = list(photographs), []
    for split in SPLITS:
        members = [photo for photo in photographs if photo.entry.split == split]
        ordered += members if counts.get(split) is None else seeded_order(members, seed, lambda photo: photo.entry.name)
    return ordered


def split_by_list(photographs: Sequence[Photograph], file: Path) -> list[Photograph]:
    """Returns the photographs that a list names, in its order, with the splits it gives.

    Args:
        photographs: All of them.
        file: CSV with the columns `name` and `split`; a name may be given with or without its file's suffix.

    Raises:
        DataError: If the list cannot be read, names photographs that are not there, a photograph twice, or a split
            that does not exist.
    """
    known = {f"{photo.entry.name}{Path(photo.file).suffix}": photo for photo in photographs}
    known |= {photo.entry.name: photo for photo in photographs}
    rows = _read_list(file)
    missing = [name for name, _ in rows if name not in known]
    if missing:
        hint = did_you_mean(missing[0], list(known)[:20_000])
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise DataError(f"{file} names {counted(len(missing), 'photograph')} not there: {shown}.{hint}")
    chosen = [with_split(known[name], split) for name, split in rows]
    twice = [name for name, count in Counter(photo.entry.name for photo in chosen).items() if count > 1]
    if twice:
        raise DataError(f"{file} names more than once: {', '.join(twice[:_SHOWN])}. Keep one line for each photograph.")
    if left_out := len(photographs) - len(chosen):
        console.print(f"Left out, because {file} does not name them: {counted(left_out, 'photograph')}.")
    return [photo for split in SPLITS for photo in chosen if photo.entry.split == split]


def _read_list(file: Path) -> list[tuple[str, str]]:
    try:
        with file.expanduser().open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            if not {"name", "split"} <= set(reader.fieldnames or ()):
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise DataError(f"{file} has the columns {found}; a split list needs name and split.")
            rows = [(row["name"] or "", row["split"] or "") for row in reader]  # None where a line is too short
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"The split list {file} cannot be read: {error}.") from error
    wrong = next(((name, split) for name, split in rows if split not in SPLITS), None)
    if wrong:
        raise DataError(f"{file}: '{wrong[0]}' is in split '{wrong[1]}', which is none of {', '.join(SPLITS)}.")
    return rows


def shared_identities(photographs: Iterable[Photograph]) -> list[str]:
    """Returns the identities that occur in more than one split."""
    pairs = {(photo.entry.identity, photo.entry.split) for photo in photographs if photo.entry.identity}
    return sorted(identity for identity, splits in Counter(who for who, _ in pairs).items() if splits > 1)
