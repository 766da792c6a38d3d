"""One training run from its configuration to its results: the plot of the verb `train`."""

import contextlib
import errno
import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import torch
from filelock import FileLock
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from pkdn_lightning.callbacks import LastCheckpoint, TrainingInterruptedError
from pkdn_lightning.checkpoints import LoadedNetwork, find_teacher, load_network, read_checkpoint
from pkdn_lightning.config.build import (
    build_callbacks,
    build_datamodule,
    build_loggers,
    build_module,
    build_network,
    build_objective,
    build_source,
    build_trainer,
)
from pkdn_lightning.config.schema import TermConfig, TrainConfig
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError, TrainingError
from pkdn_lightning.modules import FrozenTeacher, SRModule
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.preparation.pipeline import prepare_store
from pkdn_lightning.preparation.sources.synthetic import SyntheticSource
from pkdn_lightning.runs import RunFolder, open_run, provenance, trim_metrics, write_json

_console = Console()


class RunResult(NamedTuple):
    """What a training run left behind.

    Attributes:
        run: The run folder.
        metrics: The last value of everything measured, e.g. `val/psnr_y`, `test/celeba/psnr_y`.
        best: The checkpoint that validated best; None if none was written.
    """

    run: RunFolder
    metrics: Mapping[str, float]
    best: Path | None

    @property
    def objective(self) -> float | None:
        """What a sweeper optimises: PSNR on the validation split, in dB."""
        return self.metrics.get("val/psnr_y")


def run_training(cfg: DictConfig) -> RunResult:
    """Trains what `cfg` describes; see `train.train`."""
    run = RunFolder(Path(cfg.run_dir))
    resumed = run.last if cfg.resume else None
    _quieten()
    torch.set_float32_matmul_precision("high")  # TF32 where the hardware has it; metrics compute in double
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    ensure_store(cfg)

    net = build_network(cfg.model)
    needs_teacher = build_objective(cfg.objective).needs_teacher()
    uses_parsing = bool(getattr(net, "uses_parsing", False))
    datamodule = build_datamodule(cfg.data, seed=cfg.seed, require_parsing=uses_parsing or needs_teacher)
    data = {"name": datamodule.store.name, "sha256": datamodule.store.sha256}
    datamodule.store.indices("train")  # an empty split is told before anything is trained
    teacher = acquire_teacher(cfg, data) if needs_teacher else None
    card = {
        "experiment": cfg.experiment,
        "network": OmegaConf.to_container(cfg.model, resolve=True),
        "data": data,
        **_served(cfg),
    }
    module = build_module(cfg, net, FrozenTeacher(teacher.net) if teacher else None, card)

    record = provenance(cfg.experiment, cfg.seed) | {
        "data": data,
        "teacher": {"path": str(teacher.path), "sha256": teacher.sha256} if teacher else None,
        "params": count_parameters(net),
        "macs": _macs(module, datamodule),
    }
    _open_run_folder(run, cfg, record, resumed)
    callbacks = build_callbacks(cfg.callbacks, run)
    loggers = [] if cfg.trainer.fast_dev_run else build_loggers(cfg.logger, run, _run_id(run))
    trainer = build_trainer(cfg, callbacks, loggers)
    _announce(run, module, trainer, record, resumed)
    for logger in loggers:
        logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]

    identity = teacher_identity(cfg, OmegaConf.to_container(cfg.model, resolve=True), data)
    try:
        with _worded_failures(run, record):
            metrics = _fit_and_test(trainer, module, datamodule, run, resumed, test=cfg.test)
    finally:
        _close(loggers)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        _console.print("fast_dev_run: everything works; nothing was kept.")
        return RunResult(run, metrics, None)
    results = {
        **record,
        "status": "finished",
        "steps": trainer.global_step,
        "wall_s": round(_trained_s(callbacks), 1),
        "identity": identity,
        "metrics": metrics,
    }
    write_json(run.results, results)
    _console.print(f"Finished after {trainer.global_step:,} steps: [bold]{_words(metrics)}[/]. Results: {run.results}")
    return RunResult(run, metrics, run.best if run.best.is_file() else None)


def saved_config(run_dir: str, overrides: Sequence[str]) -> DictConfig:
    """Returns the configuration of a run to be resumed, with what the command line changes of it.

    Args:
        run_dir: The run folder.
        overrides: The command line's `key=value`s; groups cannot be changed in a run that has begun.

    Raises:
        CheckpointError: If there is no run, or none that can go on.
        ConfigError: If an override does not name a key.
    """
    run = open_run(run_dir)
    if run.finished and not any(override.startswith("trainer.") for override in overrides):
        raise CheckpointError(
            f"The run {run_dir} is finished; there is nothing to resume. To train it further, raise its length: "
            "trainer.max_steps=... or trainer.max_epochs=..."
        )
    if not run.last.is_file():
        raise CheckpointError(f"The run {run_dir} stopped before its first checkpoint. Start it anew.")
    cfg = OmegaConf.merge(OmegaConf.structured(TrainConfig), OmegaConf.load(run.config))
    assert isinstance(cfg, DictConfig)
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in ("resume", "run_dir"):
            continue
        try:
            if OmegaConf.is_config(OmegaConf.select(cfg, key, throw_on_missing=False)):
                raise ConfigError(f"{override}: a run that has begun keeps its {key}. Start a new one for another.")
            OmegaConf.update(cfg, key, OmegaConf.create({"value": value}).value, force_add=False)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{override}: {str(error).splitlines()[0]}") from error
    cfg.resume = cfg.run_dir = str(run.path)
    return cfg


def ensure_store(cfg: DictConfig) -> None:
    """Makes the store of the built-in faces if it is not there; for any other, says how to get it.

    Raises:
        DataError: If the store is missing and cannot be made here.
    """
    path = Path(cfg.data.store)
    if path.exists():
        return
    target = str(cfg.data.source.get("_target_", ""))
    if target.rpartition(".")[2] == SyntheticSource.__name__:
        with FileLock(_lock_file(path)):
            if not path.exists():
                prepare_store(build_source(cfg.data), path, name=cfg.data.name)
        return
    raise DataError(
        f"There is no store at {path}. Make it from a folder of 128x128 faces and their parsing maps\n"
        "(<split>/images/NAME.png and <split>/parsing/NAME.png for the splits train, val, test):\n"
        f"  pkdn prepare data={cfg.data.name} data.source.path=<that folder>\n"
        "or use one that is elsewhere: data.store=<store>. To try everything without data: pkdn train experiment=demo"
    )


def acquire_teacher(cfg: DictConfig, data: Mapping[str, str]) -> LoadedNetwork:
    """Returns the teacher a student is to learn from, training it first where `auto` finds none.

    Jobs that need the same teacher at the same time train it once: the first trains, the others wait.

    Raises:
        CheckpointError: If a named teacher cannot be loaded or was trained for other inputs.
        ConfigError: If there is no teacher to be had.
    """
    wanted = cfg.module.teacher
    if wanted is None or wanted.checkpoint in ("none", ""):
        raise ConfigError(
            "The objective compares with a teacher and none is configured. Set module.teacher.checkpoint=auto, or a "
            "run folder, or train without: objective=reconstruction."
        )
    if wanted.checkpoint != "auto":
        return _checked_teacher(load_network(wanted.checkpoint), cfg)
    identity = teacher_identity(cfg, OmegaConf.to_container(wanted.model, resolve=True), data)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    home = RunFolder(Path(cfg.paths.runs) / wanted.experiment / f"auto-{digest}")
    with FileLock(_lock_file(home.path)):
        found = find_teacher(cfg.paths.runs, identity)
        if found is None:
            _console.print(f"No finished teacher fits; training one in [bold]{home.path}[/] first.")
            found = run_training(_teacher_config(cfg, home)).run
            lightning.seed_everything(cfg.seed, workers=True, verbose=False)  # as if it had been there all along
    if cfg.trainer.fast_dev_run and not found.best.is_file():
        net = build_network(wanted.model)
        return LoadedNetwork(net, {}, found.best, "untrained")
    _console.print(f"Teacher: {found.path}")
    return load_network(found.path)


def teacher_identity(cfg: DictConfig, network: Any, data: Mapping[str, str]) -> dict[str, Any]:
    """Returns what makes two trained networks the same for whoever learns from them."""
    return {"network": network, "data": data["sha256"], **_served(cfg)}


def _served(cfg: DictConfig) -> dict[str, Any]:
    return {"scale": cfg.data.scale, "degradation": cfg.data.degradation, "encoding": cfg.data.encoding}


def _checked_teacher(teacher: LoadedNetwork, cfg: DictConfig) -> LoadedNetwork:
    if not getattr(teacher.net, "uses_parsing", False):
        raise CheckpointError(f"{teacher.path} is no teacher: {type(teacher.net).__name__} reads no parsing maps.")
    for key, value in _served(cfg).items():
        if teacher.card.get(key) != value:
            raise CheckpointError(
                f"The teacher {teacher.path} was trained with data.{key}={teacher.card.get(key)}, this student is to "
                f"be trained with data.{key}={value}. Set data.{key}={teacher.card.get(key)}, or use another teacher."
            )
    return teacher


def _teacher_config(cfg: DictConfig, home: RunFolder) -> DictConfig:
    """Returns the configuration that trains the teacher of a student: the same but for network and objective."""
    wanted = cfg.module.teacher
    teacher = deepcopy(cfg)
    teacher.experiment, teacher.run_dir = wanted.experiment, str(home.path)
    teacher.model = OmegaConf.to_container(wanted.model, resolve=True)
    teacher.module._target_ = "pkdn_lightning.modules.TeacherModule"
    teacher.module.teacher, teacher.module.init_from = None, None
    teacher.objective = {"sr": TermConfig(term={"_target_": "pkdn_lightning.losses.Reconstruction"})}  # Eq. 1
    for key in ("max_steps", "max_epochs"):
        if wanted[key] is not None:
            teacher.trainer[key] = wanted[key]
    teacher.resume = str(home.path) if home.last.is_file() and not home.finished else None
    return teacher


def _lock_file(path: Path) -> Path:
    lock = path.parent / f".{path.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return lock


def _open_run_folder(run: RunFolder, cfg: DictConfig, record: Mapping[str, Any], resumed: Path | None) -> None:
    """Writes what is known before the first step; of a resumed run, what came before is kept."""
    if cfg.trainer.fast_dev_run:
        return
    if resumed is None and run.checkpoints.is_dir():
        raise ConfigError(
            f"{run.path} holds a run already, which is left as it is. Go on with it: pkdn train resume={run.path}\n"
            "or give another folder: run_dir=..."
        )
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    if resumed is not None:
        previous = json.loads(run.provenance.read_text(encoding="utf-8"))
        for key in ("data", "teacher"):
            if previous.get(key) != record[key]:
                raise CheckpointError(
                    f"The run {run.path} began with {key} {previous.get(key)} and would go on with {record[key]}.\n"
                    "Restore what it began with, or start a new run."
                )
        trim_metrics(run.metrics, read_checkpoint(resumed)["global_step"])
    saved = deepcopy(cfg)
    saved.resume = None
    OmegaConf.save(saved, run.config, resolve=True)
    write_json(run.provenance, record)


def _fit_and_test(
    trainer: lightning.Trainer,
    module: SRModule,
    datamodule: FaceSRDataModule,
    run: RunFolder,
    resumed: Path | None,
    *,
    test: bool,
) -> dict[str, float]:
    trainer.fit(module, datamodule=datamodule, ckpt_path=resumed)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    if test and _has_tests(datamodule):
        best = run.best if run.best.is_file() else None
        if best:
            checkpoint = read_checkpoint(best)
            module.load_state_dict(checkpoint["state_dict"])
            metrics["best/step"] = float(checkpoint["global_step"])
            metrics |= {f"best/{key}": value for key, value in _best_score(trainer).items()}
        trainer.test(module, datamodule=datamodule, verbose=False)
        metrics |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    return metrics


def _best_score(trainer: lightning.Trainer) -> dict[str, float]:
    for callback in trainer.checkpoint_callbacks:
        score = getattr(callback, "best_model_score", None)
        if score is not None:
            return {str(getattr(callback, "monitor", "score")): float(score)}
    return {}


def _has_tests(datamodule: FaceSRDataModule) -> bool:
    try:
        for store in datamodule.test_stores.values():
            store.indices("test")
    except DataError as error:
        _console.print(f"No test: {error}")
        return False
    return True


@contextlib.contextmanager
def _worded_failures(run: RunFolder, record: Mapping[str, Any]) -> Iterator[None]:
    """Turns what can happen to a run on a good day into a message with the way on."""
    way_on = f"Go on with: pkdn train resume={run.path}"
    try:
        yield
    except TrainingInterruptedError as stop:
        write_json(run.results, {**record, "status": "interrupted"})
        raise TrainingInterruptedError(f"{stop}\n{way_on}") from None
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"The accelerator's memory does not suffice: {str(error).splitlines()[0]}\nSet a smaller data.batch_size "
            "with trainer.accumulate_grad_batches to match, or trainer.precision=bf16-mixed."
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise TrainingError(f"The disk is full: {error}. The last whole checkpoint is kept. {way_on}") from error


def _macs(module: SRModule, datamodule: FaceSRDataModule) -> int:
    """Returns the multiply-accumulates of restoring one face."""
    with torch.no_grad():
        face: Any = datamodule.preview("train", 1)
        return count_macs(_Restorer(module), face)


class _Restorer(torch.nn.Module):
    def __init__(self, module: SRModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Any) -> torch.Tensor:
        return self.module(batch)


def _run_id(run: RunFolder) -> str:
    return hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:12]


def _trained_s(callbacks: Sequence[lightning.Callback]) -> float:
    return sum(callback.trained_s for callback in callbacks if isinstance(callback, LastCheckpoint))


def _announce(
    run: RunFolder, module: SRModule, trainer: lightning.Trainer, record: Mapping[str, Any], resumed: Path | None
) -> None:
    verb = "Resuming" if resumed else "Training"
    device = trainer.accelerator.__class__.__name__.removesuffix("Accelerator")
    _console.print(
        f"{verb} {type(module.net).__name__}: {record['params']:,} parameters, {record['macs'] / 1e9:.3f} GMACs a "
        f"face; {device}, precision {trainer.precision}; {record['data']['name']} {record['data']['sha256'][:8]}"
    )
    _console.print(f"Run folder: [bold]{run.path}[/]", soft_wrap=True)


def _words(metrics: Mapping[str, float]) -> str:
    shown = {name: value for name, value in metrics.items() if name.startswith(("test/", "val/"))}
    return ", ".join(f"{name} {value:.4g}" for name, value in shown.items()) or "no metrics"


def _close(loggers: Sequence[Any]) -> None:
    """Ends what loggers leave open: without it, the next run of a sweep would go on in this one's W&B run."""
    for logger in loggers:
        logger.finalize("success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _quieten() -> None:
    """Silences what Lightning says in vain here: advertisements, and warnings about what is meant to be so."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # one gather per batch needs none
        ".*dataloader is not resumable.*",  # the plans of batches resume by themselves
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's own
        ".*Experiment logs directory .* exists and is not empty.*",  # its metrics are kept
        ".*number of training batches .* is smaller than the logging interval.*",
        ".*not supported on CPU.*",
    ):
        warnings.filterwarnings("ignore", message)
