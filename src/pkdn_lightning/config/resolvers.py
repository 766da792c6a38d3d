"""The OmegaConf resolvers of the Hydra tree: `${name:arguments}`."""

import contextlib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, ListConfig, OmegaConf

from pkdn_lightning.config.gpus import gpus, jobs_at_once
from pkdn_lightning.config.run_names import run_group, run_name, run_tags, swept_keys
from pkdn_lightning.data.labels import ENCODING_CHANNELS, HEATMAP_CHANNELS
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.runs import open_run


def run_folder(run_dir: str | None, resume: str | None, runs: str, experiment: str, now: str) -> str:
    """Returns the folder of a run: `run_dir`, the run to `resume`, or a new dated one.

    The new folder is created at once, so that several runs started in the same second get different ones. What is
    no run is refused here, before Hydra creates it, or the verb removes it again as empty.

    Raises:
        CheckpointError: If there is no run to resume.
    """
    if resume and not run_dir:
        return str(open_run(resume).path)
    return run_dir or str(_new_folder(Path(runs) / experiment, now))


def _new_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for folder in (parent / name, *(parent / f"{name}_{number}" for number in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise ConfigError(f"{parent / name} exists, and so do {name}_2 to {name}_999. Set another folder: run_dir=...")


_LONGEST: Final = 150


def job_folder(overrides: str) -> str:
    """Returns the name of a job's folder.

    It contains no character that has to be quoted in a shell or in a Hydra override, and fits into a file name.

    Example:
        >>> job_folder("model.rcabs_per_level-[0,1,4]+seed-0")
        'model.rcabs_per_level-0-1-4+seed-0'
        >>> job_folder("optimizer.lr-0.0007768811685516971")
        'optimizer.lr-0.0007769'
    """
    short = re.sub(r"\d+\.\d{6,}(e[+-]?\d+)?", lambda number: f"{float(number[0]):.4g}", overrides)
    name = re.sub(r"[^\w.+-]+", "-", re.sub(r"[\[\](){}'\" ]", "", short)).strip("-")
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"
    return name or "single"


def sweep_name(ablation: str | None, search: str | None, overrides: Sequence[str]) -> str:
    """Returns the name of a sweep's folder: its ablation or search, or else the keys that it varies.

    Example:
        >>> sweep_name(None, None, ["experiment=demo", "seed=0,1", "objective.ts.weight=0,1"])
        'objective.ts.weight+seed'
    """
    named = "_".join(filter(None, (ablation, search)))
    return named or (job_folder("+".join(sorted(swept))) if (swept := swept_keys(overrides)) else "multirun")


def by_size(full: Any, reduced: Any, *, _root_: DictConfig) -> Any:
    """Returns the argument of the full network, or that of the reduced one if `size=reduced`.

    Raises:
        ConfigError: If `size` is neither.
    """
    sizes = {"full": full, "reduced": reduced}
    size = str(_root_.get("size", "full"))
    if size not in sizes:
        raise ConfigError(f"size={size} is neither full nor reduced.{did_you_mean(size, sizes)}")
    chosen = sizes[size]
    return ListConfig(chosen) if isinstance(chosen, list) else chosen  # OmegaConf cannot resolve a plain list in place


def first_third(steps: int) -> float:
    """Returns a third of a training's length in steps; 1 if the length is not given in steps (-1)."""
    return max(1.0, steps / 3)


def parsing_channels(encoding: str) -> int:
    """Returns the number of channels of an encoded parsing map."""
    return ENCODING_CHANNELS[encoding]


def heatmaps_of(store: str) -> str:
    """Returns the heatmaps that a store allows: `landmarks` if it has any, else `components` of parsing maps."""
    import json

    try:
        manifest = json.loads((Path(store) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "landmarks"  # no store yet: opening it reports that
    return "landmarks" if "landmarks.npy" in manifest["sha256"] else "components"


def size_of(store: str) -> int:
    """Returns the side of a store's faces in pixels; 128 if there is no store yet."""
    import numpy as np

    try:
        return int(np.load(Path(store) / "hr.npy", mmap_mode="r").shape[1])
    except (OSError, ValueError, IndexError):
        return 128  # no store yet, or a damaged one: opening it reports that


def heatmap_count(heatmaps: str) -> int:
    """Returns the number of channels of a kind of heatmaps."""
    return HEATMAP_CHANNELS[heatmaps]


def register_resolvers() -> None:
    """Registers the resolvers with OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)  # one folder per job
    OmegaConf.register_new_resolver("jobs_at_once", jobs_at_once, replace=True)
    OmegaConf.register_new_resolver("gpu_per_job", lambda: min(1, len(gpus())), replace=True)
    OmegaConf.register_new_resolver("threads_per_job", lambda: None if gpus() else 1, replace=True)
    OmegaConf.register_new_resolver("jobs_folder", lambda out, store: f"{out or store}.jobs", replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("by_size", by_size, replace=True)
    OmegaConf.register_new_resolver("first_third", first_third, replace=True)
    OmegaConf.register_new_resolver("parsing_channels", parsing_channels, replace=True)
    OmegaConf.register_new_resolver("heatmaps_of", heatmaps_of, replace=True)
    OmegaConf.register_new_resolver("size_of", size_of, replace=True)
    OmegaConf.register_new_resolver("heatmap_count", heatmap_count, replace=True)
    OmegaConf.register_new_resolver("run_group", run_group, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("run_tags", run_tags, replace=True)
