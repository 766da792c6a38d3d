"""The parts of a training, made from its configuration."""

import inspect
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.callbacks import Checkpoint, LearningRateMonitor, ModelCheckpoint, ProgressBar
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.profilers import Profiler, PyTorchProfiler
from omegaconf import DictConfig, OmegaConf
from torch import nn

from pkdn_lightning.config.instances import check_arguments, find_class, make, make_partial, refusals
from pkdn_lightning.config.schema import DataConfig, TrainerConfig
from pkdn_lightning.console import console
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.hardware import choose_precision, on_gpu
from pkdn_lightning.losses import LossTerm, Objective, Weight
from pkdn_lightning.metrics import face_sr_metrics
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.modules import AdversarialModule, FrozenTeacher, SRModule, StudentModule
from pkdn_lightning.modules.base import MakeOptimizer, MakeScheduler
from pkdn_lightning.networks.blocks import recompute_blocks
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.train.callbacks import LastCheckpoint, ProgressLines, SampleGrid
from pkdn_lightning.train.checkpoint_io import WholeFileCheckpointIO
from pkdn_lightning.train.loops import use_resumable_loops
from pkdn_lightning.train.tracking.mlflow import LocalMLFlowLogger


def build_objective(terms: Mapping[str, Any]) -> Objective:
    """Returns the objective, without the terms whose weight is 0."""
    pairs = {}
    for name, term in terms.items():
        if not term["term"]:
            raise ConfigError(
                f"objective.{name} has a weight but computes nothing: the chosen objective has no term '{name}'.\n"
                f"Leave objective.{name} out, or choose an objective that has it: objective=distillation."
            )
        if term["weight"] == 0:
            continue  # it may need files that are missing
        weight = Weight(term["weight"], term["schedule"], term["duration"], term["unit"], term["start"])
        pairs[name] = (weight, _loss_term(term["term"], f"objective.{name}.term"))
    return Objective(pairs)


def _loss_term(spec: Mapping[str, Any], where: str) -> LossTerm:
    term = make(spec, where)
    if not isinstance(term, LossTerm):
        raise ConfigError(
            f"{where}._target_={spec['_target_']} is a {type(term).__name__}, not a loss term.\n"
            f"Derive its class from {LossTerm.__module__}.{LossTerm.__name__}, which says what a term has to do."
        )
    return term


def build_datamodule(
    data: DataConfig, *, seed: int, require_parsing: bool, needed_by: str = "the network"
) -> FaceSRDataModule:
    """Returns the DataModule of `data`; `needed_by` names the reader of its priors in messages."""
    plain: dict[str, Any] = OmegaConf.to_container(data, resolve=True)  # type: ignore[assignment]  # a mapping
    arguments = {key: value for key, value in plain.items() if key not in ("name", "source")}
    check_arguments(FaceSRDataModule, arguments, "data")
    return FaceSRDataModule(**arguments, seed=seed, require_parsing=require_parsing, needed_by=needed_by)


def build_module(cfg: DictConfig, net: SRNetwork, teacher: SRNetwork | None, card: Mapping[str, Any]) -> SRModule:
    """Returns the training scheme of `cfg` for a network and, if it learns from one, its trained teacher."""
    if cfg.module.recompute:
        recompute_blocks(net)
    arguments: dict[str, Any] = {"channels_last": bool(cfg.module.channels_last), "card": card}
    if teacher is not None:
        layout = torch.channels_last if cfg.module.channels_last else torch.contiguous_format
        teacher = teacher.to(memory_format=layout)  # type: ignore[call-overload]  # stub
        arguments["teacher"] = FrozenTeacher(teacher, cfg.teacher.features)
    if cfg.module.features:
        arguments["features"] = dict(cfg.module.features)
    if cfg.module.discriminator:
        arguments["discriminator"] = make(cfg.module.discriminator, "module.discriminator")
        arguments |= {"adversarial_weight": cfg.module.adversarial_weight, "gate": cfg.module.gate}
    scheme: Any = find_class(cfg.module._target_, "module")
    make_optimizer, make_scheduler = _make_optimizer(cfg)
    takes = issubclass(scheme, AdversarialModule) or "discriminator" in inspect.signature(scheme).parameters
    if cfg.module.discriminator and not takes:
        raise ConfigError(
            f"module.discriminator is for module=adversarial; {cfg.module._target_} has none. To leave it out: "
            "'module.discriminator={}'"
        )
    if cfg.module.features and not issubclass(scheme, StudentModule):
        raise ConfigError(f"module.features is for students; {cfg.module._target_} compares no features. Leave it out.")
    module: SRModule = scheme(net, build_objective(cfg.objective), make_optimizer, make_scheduler, **arguments)
    return module


def start_from(net: nn.Module, source: str | None, teacher: nn.Module | None) -> str | None:
    """Copies weights of a trained network where names and shapes agree.

    Args:
        net: The network.
        source: A run, a file, or `teacher`; None for random weights.
        teacher: The teacher, if there is one.

    Returns:
        How much was copied, in words; None without a source.

    Raises:
        ConfigError: If there is no teacher, or no weight agrees.
    """
    if not source:
        return None
    if source == "teacher" and teacher is None:
        raise ConfigError(
            "module.init_from=teacher: this run has no teacher. Choose an objective that has one, e.g. "
            "objective=distillation_image, or name a run: module.init_from=<run folder>"
        )
    trained = teacher if source == "teacher" else load_network(source).net
    assert trained is not None
    own = net.state_dict()
    shared = {
        name: value for name, value in trained.state_dict().items() if name in own and own[name].shape == value.shape
    }
    if not shared:
        raise ConfigError(f"module.init_from={source} shares no weight of equal name and shape with the network.")
    copied, all_weights = (sum(value.numel() for value in state.values()) for state in (shared, own))
    net.load_state_dict(shared, strict=False)
    return f"Of {source}, {copied:,} of {all_weights:,} weights have equal names and shapes and are copied."


def compile_networks(cfg: DictConfig, module: SRModule) -> str | None:
    """Compiles the networks of a module as `module.compile` says.

    Returns:
        A line that says so if there is no GPU for CUDA graphs; None otherwise.

    Raises:
        ConfigError: If CUDA graphs cannot be used.
    """
    graphs = cfg.module.compile == "graphs"
    if graphs and cfg.trainer.accumulate_grad_batches > 1:
        raise ConfigError(
            f"module.compile=graphs with trainer.accumulate_grad_batches={cfg.trainer.accumulate_grad_batches}: the "
            "next batch would overwrite the gradients of the one before, which CUDA graphs keep in their own memory.\n"
            "Set module.compile=true, or trainer.accumulate_grad_batches=1 with a larger data.batch_size."
        )
    gpu = on_gpu(str(cfg.trainer.accelerator))
    if cfg.module.compile:
        module.compile_networks(graphs=graphs and gpu)
    return "There is no GPU for CUDA graphs: module.compile=graphs acts as true." if graphs and not gpu else None


def _make_optimizer(cfg: DictConfig) -> tuple[MakeOptimizer, MakeScheduler | None]:
    """Returns what makes the optimiser and the scheduler.

    Both are made once for nothing: they check their arguments only when they are made.
    """
    make_optimizer = make_partial(cfg.optimizer, "optimizer", provided=("params",))
    make_scheduler = make_partial(cfg.scheduler, "scheduler", provided=("optimizer", "total_steps"))
    if make_optimizer is None:
        raise ConfigError("There is no optimizer. Choose a recipe: recipe=paper or recipe=fast.")
    with refusals("optimizer"):
        optimizer = make_optimizer([nn.Parameter(torch.zeros(1))])
    if make_scheduler is not None:
        with refusals("scheduler"):
            make_scheduler(optimizer, total_steps=1000)
    return make_optimizer, make_scheduler


def build_callbacks(callbacks: Mapping[str, Any], run: RunFolder) -> list[lightning.Callback]:
    """Returns the callbacks, with their paths set to places in the run folder."""
    places: dict[Any, tuple[str, Path]] = {
        ModelCheckpoint: ("dirpath", run.checkpoints),
        LastCheckpoint: ("path", run.last),
        SampleGrid: ("folder", run.grids),
    }
    made = []
    for name, spec in callbacks.items():
        if not spec:
            continue
        key, path = places.get(find_class(spec["_target_"], f"callbacks.{name}"), ("", Path()))
        made.append(make({**spec, key: str(path)} if key else spec, f"callbacks.{name}"))
    return made


def build_loggers(loggers: Mapping[str, Any], run_id: str, role: str) -> list[Logger]:
    """Returns the loggers.

    Args:
        loggers: One mapping with a `_target_` each.
        run_id: Identifies the run; a resumed run keeps it, so that trackers continue the same run.
        role: See `SRModule.role`.

    Raises:
        ConfigError: If a logger's package is not installed, or its options do not fit.
    """
    identity: dict[type, dict[str, Any]] = {
        WandbLogger: {"id": run_id, "job_type": role},
        LocalMLFlowLogger: {"run_key": run_id, "tags": {"role": role}},
    }
    made = []
    for name, spec in loggers.items():
        if not spec:
            continue
        given = {key: value for key, value in spec.items() if value is not None}
        kind = find_class(spec["_target_"], f"logger.{name}")
        own = next((its for base, its in identity.items() if isinstance(kind, type) and issubclass(kind, base)), {})
        try:
            made.append(make({**own, **given}, f"logger.{name}"))
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"logger={name} needs a package that is not installed ({error}).\n"
                "Install it: pip install 'pkdn-lightning[tracking]'"
            ) from error
    return made


def build_trainer(cfg: DictConfig, callbacks: list[lightning.Callback], loggers: list[Logger]) -> lightning.Trainer:
    """Returns Lightning's Trainer.

    Raises:
        ConfigError: If Lightning rejects an argument.
    """
    arguments: dict[str, Any] = OmegaConf.to_container(cfg.trainer, resolve=True)  # type: ignore[assignment]  # a mapping
    if arguments["devices"] in (0, "0", []):
        raise ConfigError(f"trainer.devices={arguments['devices']}: expected at least one, or auto.")
    arguments["precision"] = choose_precision(arguments["precision"], arguments["accelerator"])
    if 0 < (arguments["max_steps"] or 0) < arguments["log_every_n_steps"]:
        arguments["log_every_n_steps"] = arguments["max_steps"]  # the shortest training logs its last step
    arguments["profiler"] = build_profiler(arguments["profiler"], RunFolder(Path(cfg.run_dir)))
    side_by_side = _runs_beside_others()
    if not (arguments["enable_progress_bar"] and console.is_terminal and not side_by_side):
        without = [each for each in callbacks if not isinstance(each, ProgressBar)]
        if arguments["enable_progress_bar"] and len(without) < len(callbacks):
            without.append(ProgressLines("/".join(Path(cfg.run_dir).parts[-2:]) if side_by_side else ""))
        callbacks = without
    arguments["enable_progress_bar"] = any(isinstance(each, ProgressBar) for each in callbacks)
    if not loggers:
        callbacks = [each for each in callbacks if not isinstance(each, LearningRateMonitor)]  # it needs one
    if arguments["fast_dev_run"]:
        callbacks = [each for each in callbacks if not isinstance(each, Checkpoint)]
    _check_monitors(callbacks)
    with refusals("trainer"):
        trainer = lightning.Trainer(
            **arguments,
            callbacks=callbacks,
            logger=loggers or False,
            enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks),
            use_distributed_sampler=False,  # the batch sampler divides the data among processes
            default_root_dir=cfg.run_dir,
            plugins=[WholeFileCheckpointIO()],
        )
    use_resumable_loops(trainer)
    return trainer


def _runs_beside_others() -> bool:
    """Returns whether this is a job of a sweep whose launcher runs several at a time, on the same terminal."""
    if not HydraConfig.initialized():
        return False
    hydra = HydraConfig.get()
    return hydra.mode == RunMode.MULTIRUN and not hydra.launcher._target_.endswith("BasicLauncher")


def check_validation_interval(trainer: TrainerConfig, batches: int) -> None:
    """Checks that an epoch is long enough for the interval of validations.

    Raises:
        ConfigError: If it is not; Lightning notices only when it starts.
    """
    every = trainer.val_check_interval
    if trainer.check_val_every_n_epoch is None and isinstance(every, float):
        raise ConfigError(
            f"trainer.val_check_interval={every:g} is a share of an epoch, and trainer.check_val_every_n_epoch=null "
            "counts steps across epochs. Set a number of steps, or trainer.check_val_every_n_epoch=1"
        )
    if trainer.check_val_every_n_epoch is not None and isinstance(every, int) and every > batches:
        raise ConfigError(
            f"trainer.val_check_interval={every} is longer than an epoch, which has {batches} batches.\n"
            "To validate every so many steps across epochs: trainer.check_val_every_n_epoch=null"
        )


def unvalidated(trainer: TrainerConfig, batches: int) -> str | None:
    """Returns a line on a training that ends before its first validation, if one is wanted; None otherwise.

    Args:
        trainer: Its configuration.
        batches: Of an epoch.
    """
    if trainer.fast_dev_run or trainer.limit_val_batches == 0:
        return None
    ends = []  # in batches
    if trainer.max_steps is not None and trainer.max_steps >= 0:
        epochs, rest = divmod(trainer.max_steps, math.ceil(batches / trainer.accumulate_grad_batches))
        ends.append(epochs * batches + rest * trainer.accumulate_grad_batches)  # the last step of an epoch may be short
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs * batches)
    every = 1.0 if trainer.val_check_interval is None else trainer.val_check_interval
    skipped = (trainer.check_val_every_n_epoch or 1) - 1
    if not ends or skipped * batches + (every if isinstance(every, int) else every * batches) <= min(ends):
        return None
    across = "" if trainer.check_val_every_n_epoch is None else " trainer.check_val_every_n_epoch=null"
    return (
        "The training ends before its first validation: no checkpoint is chosen as the best, and no faces are drawn. "
        f"To validate at the end: trainer.val_check_interval={min(ends)}{across}"
    )


def check_processes(count: int, datamodule: FaceSRDataModule, *, test: bool) -> None:
    """Checks that each process of a training has faces in every split.

    Raises:
        ConfigError: If there are more processes than faces.
    """
    splits = [("val", datamodule.store), *(("test", store) for store in datamodule.test_stores.values() if test)]
    for split, store in splits:
        if 0 < (faces := int(store.manifest["splits"][split])) < count:
            raise ConfigError(
                f"{count} processes cannot share {faces} {split} faces of {store.name}. Set fewer: trainer.devices=1"
            )


def _check_monitors(callbacks: Iterable[lightning.Callback]) -> None:
    known = [*(f"val/{name}" for name in face_sr_metrics()), "train/loss"]
    for callback in callbacks:
        monitored = getattr(callback, "monitor", None)
        if isinstance(monitored, str) and monitored not in known and not monitored.startswith("train/loss/"):
            hint = did_you_mean(monitored, known)
            raise ConfigError(
                f"{type(callback).__name__}.monitor={monitored} is never logged.{hint} There are: {', '.join(known)}"
            )


def build_profiler(name: str | None, run: RunFolder) -> Profiler | str | None:
    """Returns a profiler of Lightning by name, or `trace`, which writes a trace file into the run folder."""
    if name != "trace":
        return name
    rest, warm, traced = 2, 2, 4
    return PyTorchProfiler(
        dirpath=run.profile,
        filename="steps",
        export_to_chrome=True,
        schedule=torch.profiler.schedule(wait=rest, warmup=warm, active=traced, repeat=1),
        profile_memory=True,
        sort_by_key="cuda_time_total" if torch.cuda.is_available() else "cpu_time_total",
        row_limit=30,
    )
