"""From run folders to rows: which runs there are, what each of them is, and which differ in their seed only."""

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # what OmegaConf reads with; it ships no types

from pkdn_lightning.config.schema import TermConfig, TrainConfig
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import file_sha256
from pkdn_lightning.models.checkpoints import resolve_checkpoint
from pkdn_lightning.report.methods import method_name, rank, taught_with
from pkdn_lightning.report.settings import labels, settings
from pkdn_lightning.runs import RunFolder, find_runs

_NETWORKS: Final = "pkdn_lightning.networks."
_RECORDED: Final = ("data", "params", "macs", "steps", "metrics")  # what the tables read of a results.json


@dataclass(frozen=True)
class Teacher:
    """Whom a run learned from.

    Attributes:
        network: `_target_` and arguments.
        length: `max_steps` and `max_epochs` of its training, as far as they are known.
        folder: Its run, where it is among those that are reported.
    """

    network: Mapping[str, Any]
    length: Mapping[str, Any]
    folder: Path | None


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Where it is.
        config: Its resolved configuration, completed with the defaults of today.
        results: Its `results.json`.
        teacher: Whom it learned from, or None.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    results: Mapping[str, Any]
    teacher: Teacher | None

    @property
    def method(self) -> str:
        """What its network and scheme are called."""
        teacher = self.teacher.network if self.teacher else None
        return method_name(self.config, distilled=teacher is not None, teacher=teacher)

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

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint that validated best; the last one where none was chosen."""
        try:
            return resolve_checkpoint(self.folder.path)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}\nIts results.json says that it is finished: restore the checkpoint, or move the run out of "
                "the folder that is reported."
            ) from error

    @cached_property
    def sha256(self) -> str:
        """The checkpoint's hash."""
        return file_sha256(self.checkpoint)


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed only.

    Attributes:
        label: The method, with the settings that tell it from other rows of that method.
        method: What its network and scheme are called.
        runs: One run per seed, by seed; empty for bicubic.
        settings: What the runs have in common, by dotted key.
    """

    label: str
    method: str
    runs: tuple[Run, ...]
    settings: Mapping[str, Any]

    @property
    def reads_parsing(self) -> bool:
        """Whether it sees the parsing map of the true face, which no comparable method does."""
        return bool(self.runs) and _reads_parsing(self.runs[0])

    @property
    def taught_with(self) -> str:
        """What the method saw in training besides LR and HR faces, in words."""
        return taught_with(self.runs[0].config, distilled=self.runs[0].teacher is not None) if self.runs else ""

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
    """Returns the rows that the finished runs below a folder make, and the runs that are in none.

    Raises:
        ConfigError: If there is no such folder, or no finished run in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ConfigError(f"There is no folder {root}. Name the one that the run folders lie in: pkdn report runs=runs")
    left_out = list(_unfinished(root))
    opened: list[tuple[RunFolder, Mapping[str, Any]]] = []
    for folder in find_runs(root):
        config = _read_config(folder)
        low_res = [key for key in _RECORDED if key not in folder.read_results()]
        if config is None:
            left_out.append(LeftOut(folder.path, "its config.yaml is missing or cannot be read"))
        elif low_res:
            left_out.append(LeftOut(folder.path, f"its results.json says nothing of {', '.join(low_res)}"))
        else:
            opened.append((folder, config))
    if not opened:
        found = "; ".join(f"{run.path}: {run.reason}" for run in left_out[:2])
        raise ConfigError(
            f"There is no finished run in {root}.{f' There are {len(left_out)} others: {found}.' if found else ''}\n"
            "A run is finished when pkdn train says so, and its results.json. Start one: pkdn train experiment=demo"
        )
    rows, superseded = _group(_with_teachers(opened))
    return Collected(rows, tuple(sorted([*left_out, *superseded])))


def _unfinished(root: Path) -> Iterator[LeftOut]:
    for file in sorted(root.rglob("run.json")):
        run = RunFolder(file.parent)
        if not run.finished:
            state = run.read_results().get("status", "not finished: it is still running, or it failed")
            way_on = f"; go on with: pkdn train resume={run.path}" if run.last.is_file() else ""
            yield LeftOut(run.path, f"{state}{way_on}")


def _read_config(run: RunFolder) -> Mapping[str, Any] | None:
    """Returns a run's configuration, with the defaults of what it does not name; None if it cannot be read."""
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(run.config))  # it was saved resolved
        if not {"data", "trainer", "module", "model", "seed"} <= config.keys():
            return None
        config = _merged(asdict(TrainConfig()), config)
        term = asdict(TermConfig())
        config["objective"] = {name: _merged(term, each) for name, each in config["objective"].items()}
        config["model"] = completed(config["model"])
    except (OSError, YAMLError, OmegaConfBaseException, KeyError, TypeError, AttributeError):
        return None
    return config if isinstance(config, dict) else None


def _merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    both = {**defaults, **given}
    return {
        key: _merged(defaults[key], value)
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping)
        else value
        for key, value in both.items()
    }


def completed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a network's `_target_` and arguments with the defaults of those that are not given.

    An option that came later would otherwise tell older runs from newer ones of the same settings.
    """
    network = _network(spec)
    parameters = inspect.signature(network).parameters.values() if network else ()
    defaults = {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}
    return {**defaults, **spec}


def _network(spec: Mapping[str, Any]) -> Any:
    """Returns the class of a network of this package; None for any other, which is not imported for a file's sake."""
    module, _, name = str(spec["_target_"]).rpartition(".")
    if not module.startswith(_NETWORKS):
        return None
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None


def _reads_parsing(run: Run) -> bool:
    network = _network(run.config["model"])
    return network is not None and network.uses_parsing


def _with_teachers(opened: Sequence[tuple[RunFolder, Mapping[str, Any]]]) -> list[Run]:
    runs = [Run(folder, config, folder.read_results(), None) for folder, config in opened]
    hashes = {run.sha256: run for run in runs if _reads_parsing(run) and run.folder.best.is_file()}
    return [Run(run.folder, run.config, run.results, _teacher(run, hashes)) for run in runs]


def _teacher(run: Run, hashes: Mapping[str, Run]) -> Teacher | None:
    named = run.results.get("teacher")
    if named is None:
        return None
    # By its hash it is found wherever it was moved to; by its path, where it is not among the reported runs.
    known = hashes.get(named["sha256"])
    config = known.config if known else _read_config(RunFolder(Path(named["path"]).parent.parent))
    if config is not None:
        length = {key: config["trainer"][key] for key in ("max_steps", "max_epochs")}
        return Teacher(config["model"], length, known.folder.path if known else None)
    wanted = run.config["teacher"]
    length = {key: wanted[key] or run.config["trainer"][key] for key in ("max_steps", "max_epochs")}
    return Teacher(completed(wanted["model"]) if wanted["model"] else {}, length, None)


def _group(runs: Sequence[Run]) -> tuple[tuple[Row, ...], list[LeftOut]]:
    """Returns the rows of runs that come newest first."""
    groups: dict[tuple[str, str], dict[int, Run]] = {}
    common: dict[tuple[str, str], Mapping[str, Any]] = {}
    superseded = []
    for run in runs:
        teacher = run.teacher
        network = {} if teacher is None else {**teacher.network, "trainer": teacher.length}
        own = settings(run.config, teacher=network, data=run.results.get("data", {}))
        key = (run.method, repr(sorted(own.items())))
        newest = groups.setdefault(key, {}).setdefault(run.seed, run)
        common[key] = own
        if newest is not run:
            reason = f"an older run of the settings and the seed of {newest.folder.path}"
            superseded.append(LeftOut(run.folder.path, reason))
    ordered = sorted(groups, key=lambda key: (rank(key[0]), _budget(groups[key]), key[1]))
    names = labels([(key[0], common[key]) for key in ordered])
    rows = [
        Row(name, key[0], tuple(groups[key][seed] for seed in sorted(groups[key])), common[key])
        for name, key in zip(names, ordered, strict=True)
    ]
    return tuple(rows), superseded


def _budget(runs: Mapping[int, Run]) -> int:
    return max(int(run.results.get("steps", 0)) for run in runs.values())
