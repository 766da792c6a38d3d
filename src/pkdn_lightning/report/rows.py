"""From run folders to rows: which runs there are, what each of them is, and which differ in their seed only."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError
from pkdn_lightning.file_schema import check_contents
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.report.methods import method_name, rank, taught_with
from pkdn_lightning.report.run_config import completed, known_network, read_config
from pkdn_lightning.report.settings import labels, settings
from pkdn_lightning.runs import RunFolder, find_runs

_COUNT: Final = range(2**62)
_RESULTS: Final = {
    "data": {"name": str, "sha256": str}, "params": _COUNT, "macs": _COUNT, "steps": _COUNT, "metrics": {str: float},
    "teacher?": ({"path": str, "sha256": str}, None), "git?": ({"commit": str}, None), "command?": str,
}  # fmt: skip
"""What is read of a results.json; see `file_schema`."""


@dataclass(frozen=True)
class Teacher:
    """The network that a run was distilled from."""

    network: Mapping[str, Any]  # `_target_` and arguments
    length: Mapping[str, Any]  # `max_steps` and `max_epochs` of its training, as far as they are known
    folder: Path | None  # its run folder, if it is among the reported runs


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: RunFolder
    config: Mapping[str, Any]  # resolved, completed with today's defaults
    results: Mapping[str, Any]  # its results.json
    checkpoint: Path  # the one that validated best; the last one where none was chosen
    sha256: str  # the checkpoint's hash
    teacher: Teacher | None = None  # the teacher it was distilled from

    @property
    def method(self) -> str:
        """Name of the method: network and training scheme."""
        return method_name(self.config, self.teacher.network if self.teacher else None)

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.config["seed"])

    @property
    def validation(self) -> float:
        """PSNR on the validation split, in dB, at the best checkpoint; -inf if it was not measured."""
        metrics = self.results.get("metrics", {})
        return float(metrics.get("best/val/psnr_y", metrics.get("val/psnr_y", float("-inf"))))

    @property
    def batch(self) -> int:
        """Faces per step, as far as the configuration tells the number of devices."""
        trainer = self.config["trainer"]
        devices = trainer["devices"] if isinstance(trainer["devices"], int) and trainer["devices"] > 0 else 1
        batch = self.config["data"]["batch_size"] * trainer["accumulate_grad_batches"]
        return int(batch * devices * trainer["num_nodes"])

    @property
    def faces_seen(self) -> int:
        """Faces in all steps together."""
        return int(self.results["steps"]) * self.batch

    @property
    def reads_parsing(self) -> bool:
        """Whether its network takes the parsing map of the face as a second input."""
        network = known_network(self.config["model"])
        return network is not None and network.uses_parsing

    def open_store(self) -> FaceStore | None:
        """Opens the store that the run was trained on; None if it is gone, or now holds other data."""
        try:
            store = FaceStore.open(self.config["data"]["store"], verify=False)
        except (DataError, OSError):
            return None
        return store if store.sha256 == self.results["data"]["sha256"] else None


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed only."""

    label: str  # the method, with the settings that tell it from other rows of that method
    method: str  # network and training scheme
    runs: tuple[Run, ...]  # one per seed, by seed; none for bicubic
    settings: Mapping[str, Any]  # what the runs share, by dotted key

    @property
    def reads_parsing(self) -> bool:
        """Whether it sees the parsing map of the true face, which no comparable method does."""
        return bool(self.runs) and self.runs[0].reads_parsing

    @property
    def taught_with(self) -> str:
        """What the method saw in training besides LR and HR faces, in words; empty if nothing."""
        if self.reads_parsing:
            return "parsing maps, which it also sees in use"
        return taught_with(self.runs[0].config, distilled=self.distilled) if self.runs else ""

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
            runs.append(_read(folder))
        except (DataError, CheckpointError) as error:
            left_out.append(LeftOut(folder.path, " ".join(str(error).split())))
    if not runs:
        if not left_out:
            raise ConfigError(f"There is no run in {root}. Start one: pkdn train experiment=demo")
        raise ConfigError(
            f"None of the {len(left_out)} runs in {root} can be reported. The first one, {left_out[0].path}: "
            f"{left_out[0].reason}"
        )
    teachers = {run.sha256: run for run in runs if run.reads_parsing and run.folder.best.is_file()}
    rows, superseded = _group([replace(run, teacher=_teacher(run, teachers)) for run in runs])
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


def _read(folder: RunFolder) -> Run:
    """Returns a finished run, whose checkpoint loads.

    Raises:
        DataError: If its record or its configuration lacks something or holds a wrong value.
        CheckpointError: If its checkpoint is missing or damaged.
    """
    results = folder.read_results()
    check_contents(results, _RESULTS, "its results.json", DataError)
    config = read_config(folder)
    loaded = load_network(folder.path)
    if completed(loaded.card["network"]) != config["model"]:
        raise DataError("its config.yaml describes another network than its checkpoint")
    return Run(folder, config, results, loaded.path, loaded.sha256)


def _teacher(run: Run, teachers: Mapping[str, Run]) -> Teacher | None:
    """Returns a run's teacher: by its hash where it is reported, else by its path, else by the run's own settings."""
    named = run.results.get("teacher")
    if named is None:
        return None
    known = teachers.get(named["sha256"])
    config: Mapping[str, Any] | None = known.config if known else None
    if config is None:
        with suppress(DataError):  # it is no longer there, or was changed
            config = read_config(RunFolder(Path(named["path"]).parent.parent))
    if config is not None:
        length = {key: config["trainer"][key] for key in ("max_steps", "max_epochs")}
        return Teacher(config["model"], length, known.folder.path if known else None)
    wanted = run.config["teacher"]
    length = {key: wanted[key] or run.config["trainer"][key] for key in ("max_steps", "max_epochs")}
    return Teacher(completed(wanted["model"]) if wanted["model"] else {}, length, None)


def _group(runs: Sequence[Run]) -> tuple[tuple[Row, ...], list[LeftOut]]:
    """Returns the rows of runs, which come newest first, and the runs that a newer one replaces."""
    groups: dict[tuple[str, str], dict[int, Run]] = {}
    common: dict[tuple[str, str], Mapping[str, Any]] = {}
    superseded = []
    for run in runs:
        teacher = {**run.teacher.network, "trainer": run.teacher.length} if run.teacher else {}
        own = settings(run.config, teacher=teacher, data=run.results["data"])
        key = (run.method, repr(sorted(own.items())))
        newest = groups.setdefault(key, {}).setdefault(run.seed, run)
        common[key] = own
        if newest is not run:
            reason = f"an older run of the settings and the seed of {newest.folder.path}"
            superseded.append(LeftOut(run.folder.path, reason))
    steps = {key: max(int(run.results["steps"]) for run in seeds.values()) for key, seeds in groups.items()}
    ordered = sorted(groups, key=lambda key: (rank(key[0]), steps[key], key[1]))
    rows = []
    for label, key in zip(labels([(key[0], common[key]) for key in ordered]), ordered, strict=True):
        rows.append(Row(label, key[0], tuple(run for _, run in sorted(groups[key].items())), common[key]))
    return tuple(rows), superseded
