"""How a run is called in trackers: by what was typed for it, beside the runs it belongs with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import ListConfig, OmegaConf

_LONGEST: Final = 120  # W&B's limit is 128
# Where a run writes, who watches it and on what it computes does not tell it from others.
_ALIKE: Final = ("experiment", "run_dir", "resume", "paths", "logger", "callbacks", "threads", "tags", "test", "debug")
_ALIKE_KEYS: Final = ("data.store", "data.test_stores", "data.num_workers", "trainer.enable_progress_bar")
_TAGGED: Final = ("recipe", "ablation")


def run_group(experiment: str) -> str:
    """Returns which runs a run belongs with: those of its experiment; in a multirun, those of the same sweep."""
    job = _job()
    if job is None or job.mode != RunMode.MULTIRUN:
        return experiment
    return f"{experiment}/{Path(job.sweep.dir).name}"[-_LONGEST:]


def run_name(experiment: str, run_dir: str | None) -> str:
    """Returns what tells a run apart: its experiment and what was typed to change it; in a sweep, what was swept.

    A run that was not started from the command line (a teacher that a student needs) has its folder's name instead.
    """
    job = _job()
    folder = Path(run_dir or "")
    if job is None or folder.absolute() != Path(job.runtime.output_dir).absolute():
        return f"{experiment} {folder.name}".strip()
    keys = _swept(job)
    told = [each for each in job.overrides.task if (_key(each) in keys if keys else _tells(_key(each)))]
    return " ".join([experiment, *map(_short, told)])[:_LONGEST]


def run_tags(dataset: str, seed: int, tags: Sequence[str]) -> ListConfig:
    """Returns what runs are filtered by: dataset, seed, recipe, ablation, and tags of the user's own."""
    job = _job()
    choices = dict(job.runtime.choices) if job is not None else {}
    chosen = [f"{group}={choices[group]}" for group in _TAGGED if choices.get(group, "none") != "none"]
    return ListConfig([f"data={dataset}", f"seed={seed}", *chosen, *tags])  # OmegaConf resolves no plain list in place


def _job() -> Any:
    """Returns Hydra's own configuration of this job; None where a configuration is composed from Python."""
    return HydraConfig.get() if HydraConfig.initialized() else None


def _swept(job: Any) -> set[str]:
    """Returns the keys that a multirun varies; none where there is no multirun, or its sweeper left no record."""
    if job.mode != RunMode.MULTIRUN:
        return set()
    try:
        typed = OmegaConf.load(Path(job.sweep.dir) / "multirun.yaml").hydra.overrides.task
    except OSError:
        return set()
    overrides = OverridesParser.create().parse_overrides(list(typed))
    keys = {str(each.key_or_group) for each in overrides if each.is_sweep_override()}
    return keys | set(job.sweeper.get("params") or ())


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _tells(key: str) -> bool:
    return key.partition(".")[0] not in _ALIKE and not key.startswith(_ALIKE_KEYS)


def _short(override: str) -> str:
    """Returns an override with the last two parts of its key."""
    _, _, value = override.partition("=")
    return f"{'.'.join(_key(override).split('.')[-2:])}={value}"
