"""One training run, from its configuration to its results."""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import torch
from filelock import Timeout
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config.idle_keys import idle_keys
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.console import console, counted, is_first_process
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.errors import ConfigError, DataError, TrainingError
from pkdn_lightning.hardware import full_float32, set_up
from pkdn_lightning.models.checkpoints import LoadedNetwork, read_checkpoint
from pkdn_lightning.modules import SRModule, StudentModule
from pkdn_lightning.modules.base import eagerly
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.networks.cost import count_macs, count_parameters
from pkdn_lightning.prepare.pipeline import ensure_store
from pkdn_lightning.runs import RunFolder, RunStatus, provenance
from pkdn_lightning.train.autotune import tune
from pkdn_lightning.train.build import (
    build_callbacks,
    build_datamodule,
    build_loggers,
    build_module,
    build_objective,
    build_trainer,
    check_processes,
    check_validation_interval,
    compile_networks,
    start_from,
    unvalidated,
)
from pkdn_lightning.train.callbacks import LastCheckpoint
from pkdn_lightning.train.failures import translate_errors
from pkdn_lightning.train.gpu_load import fit_to_gpu
from pkdn_lightning.train.idle_settings import idle_settings, typed_settings
from pkdn_lightning.train.resume import check_run_folder, describe_change, open_run_folder
from pkdn_lightning.train.teacher_cache import check_cacheable, teacher_faces
from pkdn_lightning.train.teacher_lookup import acquire_teacher, run_identity, teacher_reads_map
from pkdn_lightning.train.tracking.artifacts import checkpoint_artifact, store_artifact
from pkdn_lightning.train.tracking.trackers import MakeArtifact, Outcome, conclude, describe, tracked


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
    accelerator = str(cfg.trainer.accelerator)
    device = set_up(threads=cfg.threads, accelerator=accelerator, key="trainer.accelerator", tf32=True)
    choices = tune(cfg)
    ensure_store(cfg.data)
    parts, record = _assemble(cfg, device)
    load = fit_to_gpu(cfg, parts.module, parts.datamodule)
    missing = compile_networks(cfg, parts.module)
    with _own_folder(cfg, run) as own:
        if own:
            record = check_run_folder(run, record, resumed)
        loggers = [] if cfg.trainer.fast_dev_run else build_loggers(cfg.logger, record["id"], parts.module.role)
        trainer = build_trainer(cfg, build_callbacks(cfg.callbacks, run), loggers)
        check_processes(trainer.world_size, parts.datamodule, test=cfg.test)
        described = describe(OmegaConf.to_container(cfg, resolve=True), record, parts.module.role)  # type: ignore[arg-type]  # dict
        active = loggers if trainer.is_global_zero else []  # those of other processes are dummies
        with tracked(active, described, _inputs(parts)):
            change = describe_change(run, cfg) if own and resumed else None
            if own:  # after everything that can be refused
                open_run_folder(run, cfg, record, resumed)
            early = unvalidated(cfg.trainer, len(parts.datamodule.train_dataloader()))
            _announce(cfg, parts.module, trainer, record, [change, choices, load, missing, early, _idle(cfg, parts)])
            with translate_errors(run, record, cfg):
                metrics = _fit_and_test(trainer, parts, run, resumed, test=cfg.test)
                _conclude(cfg, run, trainer, metrics, record, described)
    kept = run.best.is_file() and not cfg.trainer.fast_dev_run
    return RunResult(run, metrics, run.best if kept else None)


class _Parts(NamedTuple):
    """What is trained, the data, and the teacher."""

    module: SRModule
    datamodule: FaceSRDataModule
    teacher: LoadedNetwork | None


def _conclude(
    cfg: DictConfig,
    run: RunFolder,
    trainer: lightning.Trainer,
    metrics: Mapping[str, float],
    record: Mapping[str, Any],
    described: Mapping[str, Any],
) -> None:
    """Logs the outcome, and records it last: a run that is killed before is resumed."""
    if trainer.is_global_zero:
        made = [partial(checkpoint_artifact, run.best, cfg.experiment, **metrics)] if run.best.is_file() else []
        for logger in trainer.loggers:
            conclude(logger, Outcome(metrics, trainer.global_step, made), described)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        console.print("fast_dev_run: the training works; nothing was kept.")
        return
    outcome = {"steps": trainer.global_step, "wall_s": round(_trained_s(trainer), 1), "metrics": metrics}
    if trainer.is_global_zero:
        run.write_results(RunStatus.FINISHED, {**record, **outcome})
    console.print(f"Finished after {counted(trainer.global_step, 'step')}: {_summary(metrics)}.")
    for what, place in _products(run):
        console.print(f"{what}: {place}")


@contextlib.contextmanager
def _own_folder(cfg: DictConfig, run: RunFolder) -> Iterator[bool]:
    """Locks the run folder during the training; yields whether this process writes to it."""
    if not is_first_process() or cfg.trainer.fast_dev_run:
        yield False
        return
    try:
        with run.held():
            yield True
    except Timeout:
        raise ConfigError(f"{run.path} is being trained by another process; wait for it, or stop it.") from None
    finally:
        run.remove_if_empty()


def _assemble(cfg: DictConfig, device: torch.device) -> tuple[_Parts, Mapping[str, Any]]:
    """Returns the parts of a training, and their record."""
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)
    net = build_network(cfg.model)
    if net.scale != cfg.data.scale:
        raise ConfigError(
            f"The network enlarges by {net.scale}, and data.scale={cfg.data.scale} makes the LR faces. Set data.scale="
            f"{net.scale}, or in the network's file 'scale: ${{data.scale}}'."
        )
    if next(net.parameters(), None) is None:
        raise ConfigError(f"{type(net).__name__} has no parameters, so there is nothing to train.")
    objective = build_objective(cfg.objective)
    needs_teacher = objective.needs_teacher()
    cached = needs_teacher and cfg.teacher.cache and not cfg.trainer.fast_dev_run  # whose teacher may be untrained
    if cached:
        check_cacheable(cfg, objective)
    datamodule = _open_data(cfg, net, needs_teacher=needs_teacher)
    data = {"name": datamodule.store.name, "sha256": datamodule.store.sha256}

    def train_teacher(teacher_cfg: DictConfig) -> RunFolder:
        _rehearse(cfg, datamodule)  # otherwise a pair that does not fit is found when the teacher is trained
        return run_training(teacher_cfg).run

    teacher = acquire_teacher(cfg, data, train_teacher) if needs_teacher else None
    if teacher and cached:
        datamodule.teacher_faces = teacher_faces(cfg, teacher, datamodule, device)
    lightning.seed_everything(cfg.seed, workers=True, verbose=False)  # independent of a teacher
    network = OmegaConf.to_container(cfg.model, resolve=True)
    if copied := start_from(net, cfg.module.init_from, teacher.net if teacher else None):
        console.print(copied)
    module = build_module(cfg, net, teacher.net if teacher else None, {"experiment": cfg.experiment, **datamodule.card})
    started_from = {"init_from": cfg.module.init_from} if cfg.module.init_from else {}  # no teacher for other runs
    record = provenance(cfg.experiment, cfg.seed, RunFolder(Path(cfg.run_dir))) | {
        "data": data,
        "teacher": {"path": str(teacher.path.resolve()), "sha256": teacher.sha256} if teacher else None,
        "identity": run_identity(cfg, network, data, reads_maps=net.uses_parsing) | started_from,
        "params": count_parameters(net),
        "macs": _macs(module, datamodule),
    }
    return _Parts(module, datamodule, teacher), record


def _open_data(cfg: DictConfig, net: SRNetwork, *, needs_teacher: bool) -> FaceSRDataModule:
    """Returns the data of a network's training, after a look at everything that it needs."""
    datamodule = build_datamodule(
        cfg.data,
        seed=cfg.seed,
        require_parsing=net.uses_parsing or (needs_teacher and teacher_reads_map(cfg)),
        needed_by="the teacher" if needs_teacher else type(net).__name__,
    )
    if not net.uses_parsing:
        datamodule.parsing_dropout = 0.0  # the maps are for a trained teacher, or for terms of the objective
    batches = len(datamodule.train_dataloader())  # a missing store or an empty split is an error before the training
    if cfg.trainer.limit_val_batches != 0:
        datamodule.store.indices("val")
    if cfg.test:
        len(datamodule.test_stores)
    check_validation_interval(cfg.trainer, batches)
    return datamodule


@torch.no_grad()
def _rehearse(cfg: DictConfig, datamodule: FaceSRDataModule) -> None:
    """Compares the student's output of two faces with that of an untrained teacher."""
    net, teacher = build_network(cfg.model), build_network(cfg.teacher.model, "teacher.model")
    start_from(net, cfg.module.init_from, teacher)
    module = build_module(cfg, net, teacher, {}).eval()
    batch = datamodule.preview("train", 2)
    if isinstance(module, StudentModule):
        with eagerly():
            module.check_pair(batch, module.restore(batch))


def _idle(cfg: DictConfig, parts: _Parts) -> str | None:
    """Returns what was typed without effect, with the reasons; None if nothing."""
    objective = parts.module.objective
    idle = idle_keys(
        cfg,
        taught=parts.teacher is not None,
        reads_maps=parts.module.net.uses_parsing,
        teacher_reads_maps=parts.teacher is not None and parts.teacher.net.uses_parsing,
        reads_features=objective.reads_features,
        priors=objective.priors,
    )
    return idle_settings(cfg, typed_settings(cfg), idle)


def _inputs(parts: _Parts) -> list[MakeArtifact]:
    """Returns the artifacts that a run is made from."""
    inputs: list[MakeArtifact] = [partial(store_artifact, parts.datamodule.store)]
    if parts.teacher is not None:
        inputs.append(partial(checkpoint_artifact, parts.teacher.path, str(parts.teacher.card.get("experiment"))))
    return inputs


def _fit_and_test(
    trainer: lightning.Trainer, parts: _Parts, run: RunFolder, resumed: Path | None, *, test: bool
) -> dict[str, float]:
    module, datamodule, _ = parts
    trainer.fit(module, datamodule=datamodule, ckpt_path=resumed)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    if broken := [name for name, value in metrics.items() if math.isnan(value)]:
        way = module.remedies
        if all(bool(torch.isfinite(weight).all()) for weight in module.net.parameters()):
            way = "Its weights are finite: look at what the network computes in evaluation mode, e.g. its norms."
        raise TrainingError(f"{broken[0]} is not a number after step {trainer.global_step:,}.\n{way}")
    if test and _has_tests(datamodule):
        best = run.best if run.best.is_file() else None
        if best:
            checkpoint = read_checkpoint(best)
            module.load_state_dict(checkpoint["state_dict"])
            metrics["best/step"] = float(checkpoint["global_step"])
            metrics |= {f"best/{key}": value for key, value in _best_score(trainer).items()}
        with full_float32():  # as the verb evaluate measures
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
        console.print(f"No test: {error}")
        return False
    return True


def _macs(module: SRModule, datamodule: FaceSRDataModule) -> int:
    """Returns the multiply-accumulates of one restored face."""
    face: Any = datamodule.preview("train", 1)
    training = module.training
    try:
        with torch.no_grad():
            return count_macs(_Restorer(module.eval()), face)  # eval: counting must not change batch norms
    finally:
        module.train(training)


class _Restorer(torch.nn.Module):
    def __init__(self, module: SRModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Any) -> torch.Tensor:
        return self.module(batch)


def _trained_s(trainer: lightning.Trainer) -> float:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    return sum(callback.trained_s for callback in callbacks if isinstance(callback, LastCheckpoint))


def _announce(
    cfg: DictConfig,
    module: SRModule,
    trainer: lightning.Trainer,
    record: Mapping[str, Any],
    notes: Iterable[str | None],
) -> None:
    verb = "Resuming" if cfg.resume else "Training"
    device = trainer.accelerator.__class__.__name__.removesuffix("Accelerator")
    console.print(
        f"{verb} {type(module.net).__name__}: {record['params']:,} parameters, {record['macs'] / 1e9:.3f} GMACs a "
        f"face; {device}, precision {trainer.precision}; {record['data']['name']} {record['data']['sha256'][:8]}"
    )
    for line in (*filter(None, notes), f"Run folder: {cfg.run_dir}"):
        console.print(line)


def _products(run: RunFolder) -> Iterator[tuple[str, Path]]:
    """Yields what a run leaves to look at, and where it is."""
    yield "Results", run.results
    if grids := sorted(run.grids.glob("*.png")):
        yield "Faces", grids[-1]
    if run.profile.is_dir():
        yield "Profile: a table, and a trace for https://ui.perfetto.dev", run.profile


def _summary(metrics: Mapping[str, float]) -> str:
    shown = {name: value for name, value in metrics.items() if name.startswith(("test/", "val/"))}
    return ", ".join(f"{name} {value:.4g}" for name, value in shown.items()) or "no metrics"


def _quieten() -> None:
    """Silences Lightning's advertisements, and its warnings about what is intended here."""
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # a batch is one gather
        ".*dataloader is not resumable.*",  # the batch sampler resumes by itself
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run's own
        ".*Experiment logs directory .* exists and is not empty.*",  # its metrics are kept
        ".*number of training batches .* is smaller than the logging interval.*",
        ".*It is recommended to use .self.log.*sync_dist=True.*",  # the metrics have averaged over all processes
        ".*Profiler clears events at the end of each cycle.*",  # one cycle is traced
        ".*`srun` command is available.*",  # the launcher uses it
        ".*treespec, LeafSpec.* is deprecated.*",  # among Lightning's dependencies
    ):
        warnings.filterwarnings("ignore", message)
