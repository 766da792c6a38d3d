"""The teacher a student learns from: named, found, or trained first."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pkdn_lightning.config import data_and_size
from pkdn_lightning.config.instances import build_network
from pkdn_lightning.config.schema import TermConfig
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import exclusive, write_json
from pkdn_lightning.models.checkpoints import LoadedNetwork, load_network
from pkdn_lightning.runs import RunFolder, find_runs
from pkdn_lightning.train.resume import clear_run_folder, saved_config

_SERVED = ("scale", "degradation", "encoding")
_DAMAGE = ("parsing_damage", "parsing_damage_px")  # said only where there is any


def acquire_teacher(
    cfg: DictConfig, data: Mapping[str, str], train_teacher: Callable[[DictConfig], RunFolder]
) -> LoadedNetwork:
    """Returns the teacher a student is to learn from, training it first where `auto` finds none.

    Jobs that need the same teacher at the same time train it once: the first trains, the others wait.

    Args:
        cfg: The student's configuration.
        data: Name and hash of the store the student is trained on.
        train_teacher: Trains what a configuration describes and returns the run.

    Raises:
        CheckpointError: If a named teacher cannot be loaded or was trained for other inputs.
        ConfigError: If there is no teacher to be had.
    """
    wanted = cfg.teacher
    if wanted.checkpoint == "none":
        raise ConfigError(
            "The objective compares with a teacher and none is configured. Set teacher=pkdn, or teacher.checkpoint to "
            "a run folder, or train without: objective=reconstruction."
        )
    if wanted.checkpoint != "auto":
        return _checked(load_network(wanted.checkpoint), cfg)
    network = OmegaConf.to_container(wanted.model, resolve=True)
    identity = run_identity(cfg, network, data)
    if cfg.trainer.fast_dev_run and find_teacher(cfg.paths.runs, identity) is None:
        return LoadedNetwork(build_network(wanted.model), {}, Path("untrained"), "untrained")
    found = find_teacher(cfg.paths.runs, identity) or _train_once(cfg, identity, train_teacher)
    results = found.read_results()
    psnr = results["metrics"].get("best/val/psnr_y") or results["metrics"].get("val/psnr_y", float("nan"))
    Console().print(f"Teacher: {found.path} ({results['steps']:,} steps, val/psnr_y {psnr:.2f} dB)", soft_wrap=True)
    return load_network(found.path)


def run_identity(cfg: DictConfig, network: Any, data: Mapping[str, str]) -> dict[str, Any]:
    """Returns what makes two trained networks the same for whoever learns from them."""
    return {"network": network, "data": data["sha256"], **input_spec(cfg)}


def input_spec(cfg: DictConfig) -> dict[str, Any]:
    """Returns how faces are fed to a network: what it was trained with, it has to be used with."""
    damaged = _DAMAGE if cfg.data.parsing_damage != "none" else ()
    return {key: cfg.data[key] for key in (*_SERVED, *damaged)}


def find_teacher(root: str | Path, identity: Mapping[str, Any]) -> RunFolder | None:
    """Returns the newest finished run below `root` with an identity, or None."""
    for run in find_runs(root):
        checkpoints = (run.best, run.last)  # one that is shorter than the first validation has no best one
        if run.read_results().get("identity") == identity and any(file.is_file() for file in checkpoints):
            return run
    return None


def _train_once(
    cfg: DictConfig, identity: Mapping[str, Any], train_teacher: Callable[[DictConfig], RunFolder]
) -> RunFolder:
    first = " ".join(["pkdn train", f"experiment={cfg.teacher.method}", *data_and_size(cfg)])
    if _processes(cfg) > 1:
        raise ConfigError(
            f"No finished teacher fits, and one cannot be trained inside a run of {_processes(cfg)} processes.\n"
            f"Train it first: {first} trainer=ddp, then start this run again."
        )
    if os.environ.get("WANDB_SWEEP_ID"):  # W&B gives every run of the process the place of the sweep's own
        raise ConfigError(
            "No finished teacher fits, and one trained inside a job of a W&B sweep would be taken for that job.\n"
            f"Train it first: {first}, then start the agent again."
        )
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    home = RunFolder(Path(cfg.paths.runs) / cfg.teacher.experiment / f"auto-{digest}")
    run = RunFolder(Path(cfg.run_dir))
    if run.job.is_file():
        write_json(run.results, {"status": "waiting", "for": str(home.path)})
    with exclusive(home.path, "trains the teacher"):  # the system frees the lock of a process that was killed
        found = find_teacher(cfg.paths.runs, identity)  # another job may have trained it while this one waited
        if found is not None:
            return found
        Console().print(f"No finished teacher fits; training one in [bold]{home.path}[/] first.", soft_wrap=True)
        return train_teacher(_teacher_config(cfg, home))


def _teacher_config(cfg: DictConfig, home: RunFolder) -> DictConfig:
    """Returns the configuration that trains the teacher of a student: the same but for network and objective."""
    if home.last.is_file() and not home.finished:
        return _half_trained(cfg, home)
    clear_run_folder(home)  # of one that broke off before its first checkpoint
    wanted, teacher = cfg.teacher, deepcopy(cfg)
    teacher.experiment, teacher.run_dir = wanted.experiment, str(home.path)
    teacher.model = OmegaConf.to_container(wanted.model, resolve=True)
    teacher.module._target_ = "pkdn_lightning.modules.TeacherModule"
    teacher.module.init_from = None
    teacher.teacher.checkpoint = "none"
    teacher.objective = {"sr": TermConfig(term={"_target_": "pkdn_lightning.losses.Reconstruction"})}  # Eq. 1
    for key in ("max_steps", "max_epochs"):
        if wanted[key] is not None:
            teacher.trainer[key] = wanted[key]
    if wanted.lr is not None:
        teacher.optimizer.lr = wanted.lr
    teacher.resume = None
    return teacher


def _half_trained(cfg: DictConfig, home: RunFolder) -> DictConfig:
    """Returns the configuration that a teacher was begun with, to be trained to its end where `cfg` is trained.

    The job that began it may have had another learning rate or length: what was begun is ended as it was begun.
    """
    teacher = saved_config(str(home.path), [])
    teacher.data.store, teacher.paths = cfg.data.store, cfg.paths
    for key in ("accelerator", "devices", "enable_progress_bar"):
        teacher.trainer[key] = cfg.trainer[key]
    return teacher


def _checked(teacher: LoadedNetwork, cfg: DictConfig) -> LoadedNetwork:
    if not getattr(teacher.net, "uses_parsing", False):
        raise CheckpointError(f"{teacher.path} is no teacher: {type(teacher.net).__name__} reads no parsing maps.")
    for key in (*_SERVED, *_DAMAGE):
        value, found = (each.get(key, "none") for each in (input_spec(cfg), teacher.card))
        if found != value:
            raise CheckpointError(
                f"The teacher {teacher.path} was trained with data.{key}={found}, this student is to be trained with "
                f"data.{key}={value}. Set data.{key}={found}, or use another teacher."
            )
    return teacher


def _processes(cfg: DictConfig) -> int:
    """Returns how many processes will train, as far as the configuration tells."""
    devices = cfg.trainer.devices
    if devices in ("auto", -1, "-1"):
        devices = torch.cuda.device_count() if cfg.trainer.accelerator != "cpu" else 1
    elif not isinstance(devices, int | str):
        devices = len(devices)
    return max(1, int(devices)) * int(cfg.trainer.num_nodes)
