"""What every source passes through on its way into a store.

    source.candidates() ─> chunks ─> workers: source.read, landmarks ─> parser ─> StoreWriter ─> sheets, card ─> store

A chunk of candidates is the unit of work: its faces are parsed together, written, and committed. Chunks lie at fixed
places in the order of candidates and depend on their own candidates only, so the store's bytes depend neither on the
number of workers, nor on interruptions, nor on how many machines shared the work (`sharding`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from pkdn_lightning.config.instances import find_class, make
from pkdn_lightning.config.schema import DataConfig
from pkdn_lightning.console import ProgressLines, console, counted
from pkdn_lightning.data.remote import is_remote
from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.errors import DataError, PKDNError, cause
from pkdn_lightning.faces.detection import Landmarker
from pkdn_lightning.faces.parser import Parser
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.files import exclusive, read_json
from pkdn_lightning.prepare.data_card import describe
from pkdn_lightning.prepare.map_check import which_fit
from pkdn_lightning.prepare.source import Candidate, Face, Source
from pkdn_lightning.prepare.store_writer import StoreWriter
from pkdn_lightning.prepare.workers import in_order, worker_count

CHUNK = 64
_CALIBRATION = 32  # photographs, evenly spaced, from which a parser may take its calibration faces


class Job(NamedTuple):
    """Everything that decides what a store contains.

    Attributes:
        source: Where the faces come from.
        name: The dataset's name.
        parser: Makes the parsing maps; None leaves what the source has.
        landmarker: Finds the landmarks; None leaves what the source has.
        check_maps: Refuses parsing maps that do not show faces; see `map_check`.
    """

    source: Source
    name: str
    parser: Parser | None = None
    landmarker: Landmarker | None = None
    check_maps: bool = False

    def provenance(self) -> dict[str, Any]:
        """Returns how the store is made."""
        parts = (part for part in (self.source, self.parser, self.landmarker) if part is not None)
        return {key: value for part in parts for key, value in part.provenance().items()}

    def plan(self, candidates: Sequence[Candidate]) -> dict[str, Any]:
        """Returns the plain values on which the store's bytes depend."""
        digest = hashlib.sha256()
        for candidate in candidates:
            digest.update("\0".join(astuple(candidate.entry)).encode(errors="surrogateescape") + b"\n")
        return {
            "name": self.name,
            "size_px": self.source.size_px,
            "made": self.provenance(),
            "faces_wanted": dict(self.source.quotas()),
            "photographs": f"{len(candidates)}, SHA-256 of their names {digest.hexdigest()[:16]}",
        }

    def writer(self, path: Path, plan: Mapping[str, Any]) -> StoreWriter:
        """Returns the writer for a store of this job at `path`."""
        return StoreWriter(
            path,
            name=self.name,
            size_px=self.source.size_px,
            with_parsing=self.parser is not None or self.source.with_parsing,
            with_landmarks=self.landmarker is not None or self.source.with_landmarks,
            provenance=self.provenance(),
            plan=plan,
        )


def ensure_store(data: DataConfig) -> None:
    """Makes the store of faces that come with the package if it is missing.

    Raises:
        DataError: If another store is missing; the message says how to make it.
    """
    path = Path(data.store)
    target = data.source.get("_target_")
    included = bool(target) and getattr(find_class(target, "data.source"), "included", False)
    if included and path.exists():
        _check_options(data, path)
    if path.exists() or is_remote(data.store):
        return
    if not included:
        raise DataError(
            f"There is no store at {path}. Make it from what the publisher ships, or from a folder of ready faces:\n"
            f"  pkdn prepare data={data.name} data.source.path=<where it is>\n"
            "or use one that is elsewhere: data.store=<store>. Without any data of your own: data=portraits"
        )
    with exclusive(path, "prepares"):
        if not path.exists():
            prepare_store(build_job(data), path, workers=0)  # a few seconds; a job of a sweep may not start processes


def _check_options(data: DataConfig, path: Path) -> None:
    made, wanted = read_json(path / "manifest.json").get("provenance"), build_job(data).provenance()
    if isinstance(made, dict) and made.get("source") == wanted["source"] and made.get("options") != wanted["options"]:
        raise DataError(
            f"{path} was made with other options: {made.get('options')} instead of {wanted['options']}.\n"
            f"To use it: {_as_overrides(made['options'], wanted['options'])}\n"
            "To make another one: data.store=<store>, or remove it."
        )


def _as_overrides(options: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Returns what to type for the options of a store, where they differ from the wanted ones."""
    return " ".join(
        f"data.source.{key}={'null' if value is None else value}"
        for key, value in options.items()
        if value != wanted.get(key)
    )


def build_job(
    data: DataConfig,
    parser: Mapping[str, Any] | None = None,
    landmarks: Mapping[str, Any] | None = None,
    *,
    check_maps: bool = True,
) -> Job:
    """Returns what the store of `data` is made from, with a parser and a finder of landmarks, or none."""
    return Job(
        make(data.source, "data.source"),
        data.name,
        make(parser, "parser") if parser else None,
        make(landmarks, "landmarks") if landmarks else None,
        check_maps,
    )


def prepare_store(job: Job, path: Path, *, workers: int | None = None, progress: bool = True) -> FaceStore:
    """Makes a store and returns it, verified. Interrupted at any moment and called again, it continues.

    Args:
        job: What to make.
        path: Where the store will be.
        workers: Worker processes; 0 works in this one; None takes one per core if there is enough to do.
        progress: Shows a progress bar.

    Raises:
        DataError: If the source has no faces, or the store cannot be written. Single photographs that cannot be used
            are listed in the store's `rejects.csv`.
    """
    candidates = begin(job, path, progress=progress)
    with job.writer(path, job.plan(candidates)) as writer:
        fill(writer, job, candidates, workers=workers, progress=progress)
        del candidates  # a store's index takes as much memory again
        writer.finish(describe)
    return FaceStore.open(path)


def begin(job: Job, path: Path, *, progress: bool) -> Sequence[Candidate]:
    """Returns the candidates of a job; says what is being made, because finding them may take minutes."""
    if progress:
        console.print(f"Preparing {path}: looking for the photographs of {job.name}.")
    candidates = job.source.candidates()
    if progress:
        console.print(f"{counted(len(candidates), 'photograph')}.")
    _calibrate(job, candidates)
    return candidates


def _calibrate(job: Job, candidates: Sequence[Candidate]) -> None:
    """Offers faces to a parser that has `calibrate`: the same for every shard and every resumption."""
    if (calibrate := getattr(job.parser, "calibrate", None)) is not None:
        places = range(0, len(candidates), max(1, len(candidates) // _CALIBRATION))[:_CALIBRATION]
        found = (_Reader(job.source, None)([candidates[place]])[0] for place in places)
        calibrate(face.hr for face in found if isinstance(face, Face))


def fill(
    writer: StoreWriter, job: Job, candidates: Sequence[Candidate], *, workers: int | None, progress: bool
) -> None:
    """Adds the candidates that have not been tried yet."""
    quotas, tried = job.source.quotas(), writer.tried
    chunks = (candidates[start : start + CHUNK] for start in range(tried, len(candidates), CHUNK))

    def unneeded(chunk: Sequence[Candidate]) -> bool:
        return all(_is_full(writer, candidate.entry, quotas) for candidate in chunk)

    reader = _Reader(job.source, job.landmarker)
    results = in_order(reader, chunks, worker_count(workers, len(candidates) - tried), skip=unneeded)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    # Closed at once when something goes wrong, so that no worker outlives the error.
    with closing(results), Progress(*columns, disable=not (progress and console.is_terminal)) as bar:
        task = bar.add_task("preparing faces", total=len(candidates), completed=tried, begin=tried, rejected=0)
        lines = ProgressLines("Photographs", len(candidates), show=progress)
        for chunk, found in results:
            faces: list[Face | Rejected | None] = [None] * len(chunk) if found is None else [*found]
            if job.parser is not None:
                faces = _with_maps(job.parser, chunk, faces)
            if job.check_maps:
                faces = _checked(chunk, faces)
            for candidate, face in zip(chunk, faces, strict=True):
                keep(writer, candidate.entry, face, quotas)
            writer.commit()
            rejected = writer.rejected.total()
            bar.update(task, advance=len(chunk), rejected=rejected)
            lines.update(writer.tried, f", {rejected:,} rejected")


def keep(writer: StoreWriter, entry: Entry, found: Face | Rejected | None, quotas: Mapping[str, int]) -> None:
    """Adds or rejects what a candidate became, unless its split is full by then."""
    if found is None or _is_full(writer, entry, quotas):
        writer.skip()
    elif isinstance(found, Rejected):
        writer.reject(entry, found)
    else:
        writer.add(entry, *found)


def _is_full(writer: StoreWriter, entry: Entry, quotas: Mapping[str, int]) -> bool:
    return entry.split in quotas and writer.accepted[entry.split] >= quotas[entry.split]


@dataclass(frozen=True)
class _Reader:
    """Reads a chunk; what a worker process does. The parser stays behind: it may hold a GPU."""

    source: Source
    landmarker: Landmarker | None

    def __call__(self, chunk: Sequence[Candidate]) -> list[Face | Rejected]:
        return [self._read(candidate) for candidate in chunk]

    def _read(self, candidate: Candidate) -> Face | Rejected:
        try:
            face = self.source.read(candidate)
            return face if self.landmarker is None else face._replace(landmarks=self.landmarker.find(face.hr))
        except Rejected as why:
            return why
        except (PKDNError, OSError):
            raise
        except Exception as error:  # a source of the user's own can fail in any way
            entry = candidate.entry
            raise DataError(
                f"{type(self.source).__name__} failed at {entry.split}/{entry.name}: {cause(error)}"
            ) from error


def _with_maps(
    parser: Parser, chunk: Sequence[Candidate], found: Sequence[Face | Rejected | None]
) -> list[Face | Rejected | None]:
    faces = {place: face for place, face in enumerate(found) if isinstance(face, Face)}
    names = [f"{chunk[place].entry.split}/{chunk[place].entry.name}" for place in faces]
    maps = zip(faces, parser.parse(names, [face.hr for face in faces.values()]), strict=True)
    made = {place: made if isinstance(made, Rejected) else faces[place]._replace(parsing=made) for place, made in maps}
    return [made.get(place, each) for place, each in enumerate(found)]


def _checked(chunk: Sequence[Candidate], found: Sequence[Face | Rejected | None]) -> list[Face | Rejected | None]:
    """Returns what a chunk became, with faces rejected whose maps cannot be theirs.

    Raises:
        DataError: If most of the maps do not show faces.
    """
    maps = {n: face.parsing for n, face in enumerate(found) if isinstance(face, Face) and face.parsing is not None}
    checked = list(found)
    if maps:
        first = chunk[next(iter(maps))].entry
        for place, fits in zip(maps, which_fit(list(maps.values()), first.source or first.name), strict=True):
            if not fits:
                checked[place] = Rejected(
                    "bad_map", "its parsing map does not show a face: parts lie where none can be"
                )
    return checked


class _Rate(ProgressColumn):
    """Photographs per second of this run, and the number of rejected ones."""

    def render(self, task: Task) -> Text:
        done = task.completed - task.fields["begin"]
        rate = f"{done / task.elapsed:,.1f}/s" if task.elapsed and done else "-/s"
        return Text(f"{rate}, {task.fields['rejected']:,} rejected, left")
