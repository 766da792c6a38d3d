"""Names, groups and tags of runs in trackers, from the overrides on the command line."""

import hashlib
from collections.abc import Iterable, Sequence
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
    return _fitting(f"{experiment}/{Path(job.sweep.dir).name}")


def run_name(experiment: str, run_dir: str | None) -> str:
    """Returns the name of a run: its experiment, the overrides and its folder; in a sweep, the swept overrides.

    For a run that was not started from the command line (the teacher of a student): its experiment and folder.
    """
    job = _job()
    folder = Path(run_dir or "")
    if job is None or folder.absolute() != Path(job.runtime.output_dir).absolute():
        return f"{experiment} {folder.name}".strip()
    keys = _swept(job)
    shown = [each for each in job.overrides.task if (_key(each) in keys if keys else _is_shown(_key(each)))]
    last = [folder.name] if job.mode != RunMode.MULTIRUN else []
    return _fitting(" ".join([experiment, *(each.lstrip("+~") for each in shown), *last]))


def swept_keys(overrides: Sequence[str], params: Iterable[str] | None = None) -> set[str]:
    """Returns the keys that a multirun varies.

    Args:
        overrides: Those of the command line; of several for one key, the last counts.
        params: Keys that an ablation or a search varies.

    Example:
        >>> sorted(swept_keys(["experiment=demo", "seed=0,1"], ["objective.ts.weight"]))
        ['objective.ts.weight', 'seed']
    """
    last = {each.key_or_group: each for each in OverridesParser.create().parse_overrides(list(overrides))}
    return {key for key, override in last.items() if override.is_sweep_override()} | set(params or ())


def run_tags(dataset: str, seed: int, tags: Sequence[str]) -> ListConfig:
    """Returns the tags of a run: dataset, seed, recipe, ablation, and the user's own."""
    job = _job()
    choices = dict(job.runtime.choices) if job is not None else {}
    chosen = [f"{group}={choices[group]}" for group in _TAGGED if choices.get(group)]
    return ListConfig([f"data={dataset}", f"seed={seed}", *chosen, *tags])  # OmegaConf cannot resolve plain lists


def _job() -> Any:
    """Returns Hydra's configuration of this job; None if a configuration is composed from Python, or only shown."""
    if not HydraConfig.initialized() or OmegaConf.is_missing(HydraConfig.get().runtime, "output_dir"):
        return None
    return HydraConfig.get()


def _swept(job: Any) -> set[str]:
    """Returns the keys that a multirun varies; none outside a multirun, or if its sweeper left no record."""
    if job.mode != RunMode.MULTIRUN:
        return set()
    try:
        typed = OmegaConf.load(Path(job.sweep.dir) / "multirun.yaml").hydra.overrides.task
    except OSError:
        return set()
    return swept_keys(typed, job.sweeper.get("params"))


def _fitting(name: str) -> str:
    """Returns a name that trackers accept: a longer one ends after a word, with a hash that tells it from others."""
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    kept = name[: _LONGEST - len(digest) - 3]
    end = max(kept.rfind(separator) for separator in " /+")
    return f"{kept[:end] if end > 0 else kept} … {digest}"


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _is_shown(key: str) -> bool:
    return key not in _IN_THE_EXPERIMENT and not within(key, _WITHOUT_EFFECT)
