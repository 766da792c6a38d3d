"""The teacher of a student: a given checkpoint, a finished run that fits, or one that is trained first."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config import data_and_size
from pkdn_lightning.config.instances import build_network, find_class
from pkdn_lightning.config.schema import TermConfig
from pkdn_lightning.config.tree import options
from pkdn_lightning.console import console, counted
from pkdn_lightning.data.strengths import ROUNDS
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.files import exclusive
from pkdn_lightning.models.checkpoints import LoadedNetwork, load_network
from pkdn_lightning.runs import RunFolder, RunStatus, find_runs
from pkdn_lightning.train.resume import clear_run_folder, saved_config

_INPUT_KEYS = ("scale", "degradation", "encoding")
_DAMAGE_KEYS = ("parsing_damage", "parsing_damage_px")  # recorded only where maps are damaged
_STRENGTH_KEYS = ("blind",)  # recorded only where the degradation is blind

_FAR_SHORTER = 10


def acquire_teacher(
    cfg: DictConfig, data: Mapping[str, str], train_teacher: Callable[[DictConfig], RunFolder]
) -> LoadedNetwork:
    """Returns the teacher of a student; `auto` takes a finished one that fits, and trains it first if there is none.

    If several jobs need the same teacher, the first one trains it and the others wait.

    Args:
        cfg: The student's configuration.
        data: Name and hash of the store that the student is trained on.
        train_teacher: Trains a configuration and returns the run.

    Raises:
        CheckpointError: If a given teacher cannot be loaded or was trained for other inputs.
        ConfigError: If none is configured, or it cannot be trained here.
    """
    wanted = cfg.teacher
    if wanted.checkpoint == "none":
        raise ConfigError(
            "The objective needs a teacher, and none is configured. Set teacher=pkdn, or teacher.checkpoint=<run "
            "folder>, or train without one: objective=reconstruction."
        )
    if wanted.checkpoint != "auto":
        return _checked(load_network(wanted.checkpoint), cfg)
    network = OmegaConf.to_container(wanted.model, resolve=True)
    identity = run_identity(cfg, network, data, reads_maps=teacher_reads_map(cfg))
    fitting = find_teacher(cfg.paths.runs, identity, wanted.seed)
    if cfg.trainer.fast_dev_run and fitting is None:
        return LoadedNetwork(build_network(wanted.model, "teacher.model"), {}, Path("untrained"), "untrained")
    found = fitting or _train_once(cfg, identity, train_teacher)
    results = found.read_results()
    psnr = results["metrics"].get("best/val/psnr_y") or results["metrics"].get("val/psnr_y")
    quality = "never validated" if psnr is None else f"val/psnr_y {psnr:.2f} dB"
    console.print(f"Teacher: {found.path} ({counted(results['steps'], 'step')}, {quality})")
    if fitting and (other := _other_length(found, cfg)):
        console.print(f"It was trained with {other}. To train another, remove {found.path} or set another paths.runs.")
    if results["steps"] < cfg.trainer.max_steps / _FAR_SHORTER:
        console.print(
            f"This teacher was trained for few steps, compared with the {cfg.trainer.max_steps:,} of its student. To "
            f"train another, remove {found.path}; to name one: teacher.checkpoint=<run>"
        )
    return load_network(found.path)


def _other_length(teacher: RunFolder, cfg: DictConfig) -> str:
    """Returns the length and rate of a finished teacher that differ from what the student's configuration sets."""
    if not teacher.config.is_file():
        return ""
    trained = OmegaConf.load(teacher.config)
    pairs = {key: (f"trainer.{key}", cfg.teacher[key]) for key in ("max_steps", "max_epochs")}
    pairs["lr"] = ("optimizer.lr", cfg.teacher.lr)
    found = {key: (OmegaConf.select(trained, place), wanted) for key, (place, wanted) in pairs.items()}
    return ", ".join(
        f"{key}={value} instead of {wanted}" for key, (value, wanted) in found.items() if wanted not in (None, value)
    )


def run_identity(cfg: DictConfig, network: Any, data: Mapping[str, str], *, reads_maps: bool) -> dict[str, Any]:
    """Returns what interchangeable teachers share: network, data, input, and the share of dropped maps if any."""
    dropped = {"parsing_dropout": cfg.data.parsing_dropout} if reads_maps and cfg.data.parsing_dropout else {}
    return {"network": network, "data": data["sha256"], **input_spec(cfg, reads_maps=reads_maps), **dropped}


def input_spec(cfg: DictConfig, *, reads_maps: bool) -> dict[str, Any]:
    """Returns how faces are presented to a network; it has to be used as it was trained."""
    damaged = _DAMAGE_KEYS if reads_maps and cfg.data.parsing_damage != "none" else ()
    strengths = _STRENGTH_KEYS if cfg.data.degradation in ROUNDS else ()
    data: Any = OmegaConf.to_container(cfg.data, resolve=True)
    return {key: data[key] for key in (*_INPUT_KEYS, *damaged, *strengths)}


def find_teacher(root: str | Path, identity: Mapping[str, Any], seed: int | None = None) -> RunFolder | None:
    """Returns the newest finished run below `root` that learnt from no teacher and has an identity, or None.

    Args:
        root: The folder.
        identity: See `run_identity`.
        seed: Of the run; any if None.
    """
    for run in find_runs(root):
        results = run.read_results()
        fits = results.get("identity") == identity and not results.get("teacher")  # a twin must not be a student
        fits = fits and seed in (None, results.get("seed"))
        # A training that ends before its first validation has no best.ckpt.
        if fits and any(file.is_file() for file in (run.best, run.last)):
            return run
    return None


def _train_once(
    cfg: DictConfig, identity: Mapping[str, Any], train_teacher: Callable[[DictConfig], RunFolder]
) -> RunFolder:
    first = f"pkdn train {' '.join(_own_training(cfg))}"
    if _processes(cfg) > 1:
        raise ConfigError(
            f"There is no finished teacher that fits, and a run of {_processes(cfg)} processes cannot train one.\n"
            f"Train it first: {first} trainer=ddp, then start this run again."
        )
    if os.environ.get("WANDB_SWEEP_ID"):  # W&B would log every run of this process as the run of the sweep
        raise ConfigError(
            "There is no finished teacher that fits, and a job of a W&B sweep cannot train one.\n"
            f"Train it first: {first}, then start the agent again."
        )
    key = {**identity, **({} if cfg.teacher.seed is None else {"seed": cfg.teacher.seed})}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    home = RunFolder(Path(cfg.paths.runs) / cfg.teacher.experiment / f"auto-{digest}")
    run = RunFolder(Path(cfg.run_dir))
    if run.job.is_file():
        run.write_results(RunStatus.WAITING, {"for": str(home.path)})
    with exclusive(home.path, "trains the teacher"):
        found = find_teacher(cfg.paths.runs, identity, cfg.teacher.seed)  # by another job, in the meantime
        if found is not None:
            return found
        console.print(f"No finished teacher fits; training one first: {home.path}")
        return train_teacher(_teacher_config(cfg, home))


def _own_training(cfg: DictConfig) -> list[str]:
    """Returns the overrides that train the teacher in a run of its own."""
    if cfg.teacher.method in options("experiment"):
        way = [f"experiment={cfg.teacher.method}"]
    elif teacher_reads_map(cfg):
        way = ["experiment=teacher", f"data.parsing_damage={cfg.data.parsing_damage}"]
    else:
        way = ["experiment=student", "objective=reconstruction"]
    return [*way, *data_and_size(cfg)]


def _teacher_config(cfg: DictConfig, home: RunFolder) -> DictConfig:
    """Returns the configuration that trains the teacher: the student's, with another network and objective."""
    if home.last.is_file() and not home.finished:
        if other := _other_length(home, cfg):
            console.print(f"It was begun with {other}, and is finished so. To train another, remove {home.path}.")
        return _interrupted_config(cfg, home)
    clear_run_folder(home)  # of a run that stopped before its first checkpoint
    wanted, teacher = cfg.teacher, deepcopy(cfg)
    teacher.experiment, teacher.run_dir = wanted.experiment, str(home.path)
    teacher.model = OmegaConf.to_container(wanted.model, resolve=True)
    teacher.module._target_ = f"pkdn_lightning.modules.{'Teacher' if teacher_reads_map(cfg) else 'Student'}Module"
    teacher.module.init_from, teacher.module.features = None, {}
    teacher.teacher.checkpoint = "none"
    teacher.objective = {"sr": TermConfig(term={"_target_": "pkdn_lightning.losses.Reconstruction"})}  # Eq. 1
    for key in ("max_steps", "max_epochs"):
        if wanted[key] is not None:
            teacher.trainer[key] = wanted[key]
    if wanted.lr is not None:
        teacher.optimizer.lr = wanted.lr
    if wanted.seed is not None:
        teacher.seed = wanted.seed
    teacher.resume = None
    return teacher


def _interrupted_config(cfg: DictConfig, home: RunFolder) -> DictConfig:
    """Returns the configuration of an interrupted teacher, to be resumed on the machine of `cfg`.

    Learning rate and length stay those it was started with, even if they differ from those of `cfg`.
    """
    teacher = saved_config(str(home.path), [])
    teacher.data.store, teacher.paths = cfg.data.store, cfg.paths
    for key in ("accelerator", "devices", "enable_progress_bar"):
        teacher.trainer[key] = cfg.trainer[key]
    return teacher


def _checked(teacher: LoadedNetwork, cfg: DictConfig) -> LoadedNetwork:
    if teacher_reads_map(cfg) and not teacher.net.uses_parsing:
        raise CheckpointError(
            f"{teacher.path} is not a teacher: {type(teacher.net).__name__} reads no parsing maps. To learn from a "
            "network without the prior: teacher=twin"
        )
    damage = _DAMAGE_KEYS if teacher.net.uses_parsing else ()
    spec = input_spec(cfg, reads_maps=teacher.net.uses_parsing)
    for key in (*_INPUT_KEYS, *damage, *_STRENGTH_KEYS):
        value, found = (each.get(key, "none") for each in (spec, teacher.card))
        if found != value:
            raise CheckpointError(
                f"The teacher {teacher.path} was trained with data.{key}={found}, this student uses "
                f"data.{key}={value}. Set data.{key}={found}, or use another teacher."
            )
    return teacher


def teacher_reads_map(cfg: DictConfig) -> bool:
    """Returns whether the configured teacher reads parsing maps, as all do but a twin of the student."""
    network = cfg.teacher.get("model", {}).get("_target_")
    return network is None or bool(getattr(find_class(network, "teacher.model"), "uses_parsing", False))


def _processes(cfg: DictConfig) -> int:
    """Returns the number of training processes that the configuration asks for."""
    devices = cfg.trainer.devices
    if devices in ("auto", -1, "-1"):
        devices = torch.cuda.device_count() if cfg.trainer.accelerator != "cpu" else 1
    elif not isinstance(devices, int | str):
        devices = len(devices)
    return max(1, int(devices)) * int(cfg.trainer.num_nodes)
