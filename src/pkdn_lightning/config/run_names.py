"""Names, groups and tags of runs in trackers, from the overrides on the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import ListConfig, OmegaConf

from pkdn_lightning.config.training_keys import within

_LONGEST: Final = 120  # W&B's limit is 128
_IN_THE_EXPERIMENT: Final = ("experiment", "method", "size", "data", "data.name")  # part of the experiment's name
_WITHOUT_EFFECT: Final = (
    "run_dir", "resume", "paths", "logger", "callbacks", "threads", "tags", "test", "debug", "data.store",
    "data.test_stores", "data.num_workers", "trainer.enable_progress_bar",
)  # fmt: skip
_TAGGED: Final = ("recipe", "ablation")


def run_group(experiment: str) -> str:
    """Returns the group of a run: its experiment; in a multirun, its sweep."""
    job = _job()
    if job is None or job.mode != RunMode.MULTIRUN:
        return experiment
    return f"{experiment}/{Path(job.sweep.dir).name}"[-_LONGEST:]


def run_name(experiment: str, run_dir: str | None) -> str:
    """Returns the name of a run: its experiment and the overrides; in a sweep, the swept ones only.

    For a run that was not started from the command line (the teacher of a student): its experiment and folder.
    """
    job = _job()
    folder = Path(run_dir or "")
    if job is None or folder.absolute() != Path(job.runtime.output_dir).absolute():
        return f"{experiment} {folder.name}".strip()
    keys = _swept(job)
    shown = [each for each in job.overrides.task if (_key(each) in keys if keys else _is_shown(_key(each)))]
    return " ".join([experiment, *map(_short, shown)])[:_LONGEST]


def run_tags(dataset: str, seed: int, tags: Sequence[str]) -> ListConfig:
    """Returns the tags of a run: dataset, seed, recipe, ablation, and the user's own."""
    job = _job()
    choices = dict(job.runtime.choices) if job is not None else {}
    chosen = [f"{group}={choices[group]}" for group in _TAGGED if choices.get(group)]
    return ListConfig([f"data={dataset}", f"seed={seed}", *chosen, *tags])  # OmegaConf cannot resolve plain lists


def _job() -> Any:
    """Returns Hydra's configuration of this job; None if the configuration is composed from Python."""
    return HydraConfig.get() if HydraConfig.initialized() else None


def _swept(job: Any) -> set[str]:
    """Returns the keys that a multirun varies; none outside a multirun, or if its sweeper left no record."""
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


def _is_shown(key: str) -> bool:
    return key not in _IN_THE_EXPERIMENT and not within(key, _WITHOUT_EFFECT)


def _short(override: str) -> str:
    """Returns an override with only the last two parts of its key."""
    _, _, value = override.partition("=")
    return f"{'.'.join(_key(override).split('.')[-2:])}={value}"
