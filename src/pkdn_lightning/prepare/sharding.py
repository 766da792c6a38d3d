"""A store made by several machines: each makes a shard, on plain files, and one command joins them."""

import csv
import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pkdn_lightning.data.store import Entry, FaceStore, open_arrays, read_index
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.file_schema import check_contents
from pkdn_lightning.prepare.data_card import describe
from pkdn_lightning.prepare.pipeline import CHUNK, Job, begin, fill, keep
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.prepare.store_writer import (
    ACCEPTED,
    REJECT_COLUMNS,
    REJECTED,
    StoreWriter,
    differences,
    read_state,
    refuse_existing,
)

_STATE = {
    "bytes": {"hr.npy": int, "index.csv": int, "rejects.csv": int, "tried.bin": int},
    "plan": {"name": str, "size_px": range(1, 2**15), "arrays": [str], "made": dict, "faces_wanted": {str: int}},
}
"""The schema of a shard's state.json; see `file_schema`."""


class Shard(NamedTuple):
    """A share of the work: the `number`-th, from 1, of `total` runs of chunks."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Returns the shard that `i/n` names.

        Raises:
            ConfigError: If it names none.
        """
        number, _, total = text.partition("/")
        if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
            raise ConfigError(f"shard={text} names no share of the work; expected i/n with i of 1..n, as in shard=1/8.")
        return cls(int(number), int(total))

    def share(self, count: int) -> slice:
        """Returns which of `count` candidates are its own."""
        chunks = -(-count // CHUNK)
        first, end = (chunks * number // self.total * CHUNK for number in (self.number - 1, self.number))
        return slice(first, min(end, count))

    def path(self, store: Path) -> Path:
        """Returns where it is kept until all are joined."""
        return store.with_name(f"{store.name}.shard-{self.number:04d}-of-{self.total:04d}")


def prepare_shard(job: Job, path: Path, shard: Shard, *, workers: int | None = None, progress: bool = True) -> Path:
    """Makes one share of the store that will be at `path`, and returns where the share is; see `prepare_store`.

    A share that is there already is kept.

    Raises:
        DataError: If there is a store at `path`, or the share was made with other options.
    """
    refuse_existing(path)
    candidates = begin(job, shard.path(path), progress=progress)
    share = candidates[shard.share(len(candidates))]
    writer = job.writer(shard.path(path), {"shard": list(shard), **job.plan(candidates)})
    if writer.path.is_dir():
        for key, there, now in differences(_state(writer.path)["plan"], writer.plan)[:1]:
            raise DataError(
                f"{writer.path} was made with other options: {key} is {there!r} there, {now!r} now.\n"
                "Continue with its options, or remove that folder to make it anew."
            )
        return writer.path
    with writer:
        fill(writer, job, share, workers=workers, progress=progress)
        writer.seal()
        writer.move()
    return shard.path(path)


def join(path: Path) -> FaceStore:
    """Puts the shards of a store together and returns it, verified: byte for byte what one machine would have made.

    The shards stay where they are.

    Raises:
        DataError: If a shard is missing or unfinished, or shards were made of different things.
    """
    shards = _find(path)
    plan = _agreed_plan(shards)
    quotas = plan["faces_wanted"]
    with StoreWriter(
        path,
        name=plan["name"],
        size_px=plan["size_px"],
        with_parsing="parsing" in plan["arrays"],
        with_landmarks="landmarks" in plan["arrays"],
        provenance=plan["made"],
        plan={"joined": len(shards), **plan},
    ) as writer:
        tried = writer.tried
        for number, (entry, found) in enumerate(each for shard in shards for each in _read(shard)):
            if number < tried:
                continue  # a join that was interrupted had come past it
            keep(writer, entry, found, quotas)
            if number % CHUNK == CHUNK - 1:
                writer.commit()
        writer.finish(describe)
    return FaceStore.open(path)


def _find(path: Path) -> list[Path]:
    found = sorted(path.parent.glob(f"{glob.escape(path.name)}.shard-[0-9]*-of-[0-9]*"))
    whole = [each for each in found if each.name.rpartition("-")[2].isdigit()]
    if not whole:
        raise DataError(f"There are no shards of {path}. Make them with the options of the store and shard=i/n.")
    total = int(whole[0].name.rpartition("-")[2])
    wanted = [Shard(number, total).path(path) for number in range(1, total + 1)]
    if others := sorted(each.name for each in {*whole} - {*wanted}):
        raise DataError(f"{path.parent} holds shards of different totals: {whole[0].name}, {others[0]}. Keep one kind.")
    if missing := [each for each in wanted if not each.is_dir()]:
        partial = " (not finished)" if Path(f"{missing[0]}.partial").exists() else ""
        raise DataError(
            f"{len(missing)} of {total} shards are missing, the first is {missing[0]}{partial}.\n"
            f"Make it with the options of the others and shard={wanted.index(missing[0]) + 1}/{total}."
        )
    return wanted


def _agreed_plan(shards: list[Path]) -> dict[str, Any]:
    plans = [{key: value for key, value in _state(shard)["plan"].items() if key != "shard"} for shard in shards]
    for shard, plan in zip(shards, plans, strict=True):
        for key, value, other in differences(plans[0], plan)[:1]:
            raise DataError(
                f"{shards[0].name} and {shard.name} were made with different options:\n"
                f"  {key}: {value!r}\n  {key}: {other!r}\nMake one of them anew."
            )
    return plans[0]


def _state(shard: Path) -> Mapping[str, Any]:
    state = read_state(shard)
    if state is None:
        raise DataError(f"{shard} is no shard: it has no state.json that can be read. Make it anew.")
    check_contents(state, _STATE, shard / "state.json", DataError, "Copy it again, or make the shard anew.")
    for name, size in state["bytes"].items():
        file = shard / name
        if (found := file.stat().st_size if file.is_file() else 0) != size:
            raise DataError(f"{file} has {found:,} bytes instead of {size:,}. Copy it again, or make the shard anew.")
    return state


def _read(shard: Path) -> Iterator[tuple[Entry, Face | Rejected | None]]:
    """Yields what became of each candidate of a shard, in order."""
    arrays, entries, tried = (
        open_arrays(shard, _state(shard)["bytes"]),
        read_index(shard),
        (shard / "tried.bin").read_bytes(),
    )
    with (shard / "rejects.csv").open(newline="", encoding="utf-8") as file:
        rejects = [line for line in csv.DictReader(file) if tuple(line) == REJECT_COLUMNS]
    counts = len(arrays["hr"]), len(entries), len(rejects)
    if (expected := (tried.count(ACCEPTED), tried.count(ACCEPTED), tried.count(REJECTED))) != counts:
        raise DataError(
            f"{shard} holds {counts[0]} faces, {counts[1]} rows in index.csv and {counts[2]} in rejects.csv; tried.bin "
            f"says {expected[0]}, {expected[1]} and {expected[2]}. Copy it again, or make the shard anew."
        )
    faces, others = iter(enumerate(entries)), iter(rejects)
    for byte in tried:
        if byte == ACCEPTED:
            row, entry = next(faces)
            yield entry, Face(**{key: np.asarray(array[row]) for key, array in arrays.items()})
        elif byte == REJECTED:
            line = next(others)
            yield Entry(line["name"], line["split"], line["source"]), Rejected(line["reason"], line["detail"])
        else:
            yield Entry("", ""), None
