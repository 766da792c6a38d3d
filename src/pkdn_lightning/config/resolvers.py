"""Values that configurations compute: `${name:arguments}`."""

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Final

from omegaconf import OmegaConf

from pkdn_lightning.config.gpus import gpus, jobs_at_once
from pkdn_lightning.config.run_names import run_group, run_name, run_tags
from pkdn_lightning.errors import ConfigError


def run_folder(run_dir: str | None, resume: str | None, runs: str, experiment: str, now: str) -> str:
    """Returns where a run writes: where it is told to, where it left off, or a new dated folder.

    The new folder is made at once: of several runs started in the same second each has one of its own.
    """
    return run_dir or resume or str(_new_folder(Path(runs) / experiment, now))


def _new_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for folder in (parent / name, *(parent / f"{name}_{number}" for number in range(2, 1000))):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise ConfigError(f"{parent / name} and all its like exist already. Give another folder: run_dir=...")


_LONGEST: Final = 150


def job_folder(overrides: str) -> str:
    """Returns the name of a job's folder.

    It holds no character that a shell or Hydra's command line would want quoted, and is no longer than a file name.

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


def sweep_name(*choices: str) -> str:
    """Returns what the folder of a sweep is called: by its ablation or search, or `multirun` if it has neither."""
    return "_".join(choice for choice in choices if choice != "none") or "multirun"


def third(steps: int) -> float:
    """Returns a third of a training's length; 1 where the length is not given in steps, which `trainer` then says."""
    return max(1.0, steps / 3)


def parsing_channels(encoding: str) -> int:
    """Returns how many channels an encoded parsing map has."""
    from pkdn_lightning.data.parsing import encoding_channels

    return encoding_channels(encoding)  # type: ignore[arg-type]  # the DataModule checks the name


def heatmaps_of(store: str) -> str:
    """Returns the heatmaps that a store has the data for: `landmarks`, or `components` of its parsing maps."""
    import json

    try:
        manifest = json.loads((Path(store) / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "landmarks"  # there is no such store yet; who opens it says what is missing
    return "landmarks" if "landmarks.npy" in manifest["sha256"] else "components"


def heatmap_count(heatmaps: str) -> int:
    """Returns how many channels heatmaps of a kind have."""
    from pkdn_lightning.data.heatmaps import COUNTS

    return COUNTS[heatmaps]


def register_resolvers() -> None:
    """Makes the resolvers known to OmegaConf."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)  # a folder a job
    OmegaConf.register_new_resolver("jobs_at_once", jobs_at_once, replace=True)
    OmegaConf.register_new_resolver("gpu_per_job", lambda: min(1, len(gpus())), replace=True)
    OmegaConf.register_new_resolver("threads_per_job", lambda: None if gpus() else 1, replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver("third", third, replace=True)
    OmegaConf.register_new_resolver("parsing_channels", parsing_channels, replace=True)
    OmegaConf.register_new_resolver("heatmaps_of", heatmaps_of, replace=True)
    OmegaConf.register_new_resolver("heatmap_count", heatmap_count, replace=True)
    OmegaConf.register_new_resolver("run_group", run_group, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("run_tags", run_tags, replace=True)
