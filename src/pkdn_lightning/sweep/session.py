"""A sweep that can be repeated: its folder stays the same, and a job's folder is named after its overrides.

Hydra numbers jobs and dates sweeps, so that a repeated sweep starts from nothing. Here the same command finds the same
folders, and runs only the jobs that are not finished.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config.resolvers import register_resolvers
from pkdn_lightning.config.run_names import swept_keys
from pkdn_lightning.config.training_keys import AUTO_KEYS, affects_training, describe_difference, flatten, within
from pkdn_lightning.config.verb import fail
from pkdn_lightning.errors import ConfigError, describe
from pkdn_lightning.files import write_text

SWEEP_ID: Final = "PKDN_SWEEP_ID"
"""The environment variable with the id of the session that a job belongs to."""

RECORD: Final = "multirun.yaml"
"""The configuration that all jobs of a sweep share."""

GROUPS: Final = ("ablation", "launch", "sweep")
"""Groups that define the jobs of a sweep and their launcher; the command of a single job has none of them."""

# Launchers start new processes, which compose again: loading this callback registers the resolvers there.
register_resolvers()


class SweepSession(Callback):
    """Passes folder, fixed keys and session id to the jobs of a sweep.

    Attributes:
        latest: Folder and id of the last sweep of this process, or None.
    """

    latest: tuple[Path, str] | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Adds the folder, the keys that do not vary, and the session id to the overrides of every job."""
        folder, session = Path(str(config.hydra.sweep.dir)), uuid.uuid4().hex[:12]
        try:
            check_same_sweep(folder, config)
        except ConfigError as error:
            fail(describe(error))  # Hydra would make a warning of the exception and go on
        write_text(folder / RECORD, OmegaConf.to_yaml(config))  # as Hydra does, but not all of its sweepers
        varied = fixed_keys(config.hydra.overrides.task, config.hydra.sweeper.get("params") or {})
        names = ",".join(f"'{key}'" for key in varied)
        config.hydra.overrides.hydra.extend(
            [
                f"hydra.sweep.dir='{folder}'",  # also for a job with another experiment
                f"hydra.job.config.override_dirname.exclude_keys=[{names}]",
                f"+hydra.job.env_set.{SWEEP_ID}={session}",
            ]
        )
        sweeper = config.hydra.sweeper
        if sweeper.get("storage") and sweeper.get("study_name"):
            started, completed = requeue(sweeper.storage, sweeper.study_name)
            sweeper.n_trials = max(0, sweeper.n_trials - completed)
            if sweeper.sampler.get("seed") is not None:
                sweeper.sampler.seed += started  # otherwise it would repeat the previous session's draws
        SweepSession.latest = (folder, session)


def check_same_sweep(folder: Path, config: DictConfig) -> None:
    """Checks that the jobs in a folder have the same fixed keys: names of jobs hold the swept ones only.

    Args:
        folder: The folder of the sweep.
        config: What all jobs share, with Hydra's own configuration.

    Raises:
        ConfigError: If they differ in a fixed key that affects training.
    """
    if not (folder / RECORD).is_file() or not any(folder.glob("*/config.yaml")):
        return
    before: Any = OmegaConf.load(folder / RECORD)
    swept = {key for each in (before, config) for key in _swept(each.hydra)}
    saved, wanted = (_fixed_values(each, tuple(swept)) for each in (before, config))
    for key in AUTO_KEYS:
        if "auto" in (saved.get(key), wanted.get(key)):
            saved[key] = wanted.get(key)
    if difference := describe_difference(saved, wanted):
        raise ConfigError(
            f"{folder} holds another sweep, which is kept: it has {difference}.\n"
            "Give this sweep another folder: hydra.sweep.dir=<folder>"
        )


def _swept(hydra: DictConfig) -> set[str]:
    return swept_keys(hydra.overrides.task, hydra.sweeper.get("params"))


def _fixed_values(config: DictConfig, swept: Sequence[str]) -> dict[str, Any]:
    """Returns what affects training and is not swept, by key; unresolved, because values may depend on swept ones."""
    values: Any = OmegaConf.to_container(config)
    fixed = flatten({key: value for key, value in values.items() if key != "hydra"})
    return {key: value for key, value in fixed if affects_training(key) and not within(key, swept)}


def fixed_keys(overrides: Sequence[str], params: Sequence[str] | Any) -> list[str]:
    """Returns the keys of a command line whose values are the same in every job of a sweep.

    Example:
        >>> fixed_keys(["experiment=demo", "seed=0,1"], {"objective.ts.weight": "0,1"})
        ['experiment']
    """
    swept = swept_keys(overrides, params)
    typed = (each.key_or_group for each in OverridesParser.create().parse_overrides(list(overrides)))
    return [key for key in dict.fromkeys(typed) if key not in swept]


def requeue(storage: str, study_name: str) -> tuple[int, int]:
    """Queues the interrupted trials of a study again, so that their jobs resume.

    Args:
        storage: Optuna's storage URL; it need not exist yet.
        study_name: Name of the study.

    Returns:
        The numbers of started and of completed trials.
    """
    import optuna
    from optuna.trial import TrialState

    if study_name not in [each.study_name for each in optuna.get_all_study_summaries(storage)]:
        return 0, 0
    study = optuna.load_study(study_name=study_name, storage=storage)
    started = len(study.trials)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return started, len(study.get_trials(states=(TrialState.COMPLETE,)))
