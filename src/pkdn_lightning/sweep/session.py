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
from omegaconf import DictConfig, OmegaConf, read_write

from pkdn_lightning.config.resolvers import register_resolvers
from pkdn_lightning.config.run_names import swept_keys
from pkdn_lightning.config.training_keys import AUTO_KEYS, affects_training, describe_difference, flatten, within
from pkdn_lightning.config.verb import fail
from pkdn_lightning.console import console
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
        try:
            folder, session = own_folder(config), uuid.uuid4().hex[:12]
        except ConfigError as error:
            fail(describe(error))  # Hydra would make a warning of the exception and go on
        with read_write(config.hydra):
            config.hydra.sweep.dir = str(folder)
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


def own_folder(config: DictConfig) -> Path:
    """Returns the folder of a sweep: the one of its name, or the next with a number if that holds another sweep.

    Args:
        config: What all jobs share, with Hydra's own configuration.

    Raises:
        ConfigError: If the folder was typed and holds another sweep.
    """
    named = folder = Path(str(config.hydra.sweep.dir))
    number, typed = 1, any(each.startswith("hydra.sweep.dir=") for each in config.hydra.overrides.hydra)
    while other := difference_of_sweeps(folder, config):
        told = f"{folder} holds another sweep, which is kept: it has {other}."
        if typed:
            raise ConfigError(f"{told}\nGive this sweep another folder: hydra.sweep.dir=<folder>")
        number += 1
        folder = named.with_name(f"{named.name}-{number}")
    if folder != named:
        console.print(f"{told} This one's folder: {folder}")
    return folder


def difference_of_sweeps(folder: Path, config: DictConfig) -> str | None:
    """Returns the fixed keys that affect training and differ from those of the jobs in a folder; None if none does.

    Names of jobs hold the swept keys only, so jobs that differ in others must not share a folder.

    Args:
        folder: The folder of a sweep.
        config: What all jobs of this sweep share, with Hydra's own configuration.
    """
    if not (folder / RECORD).is_file() or not any(folder.glob("*/config.yaml")):
        return None
    before: Any = OmegaConf.load(folder / RECORD)
    swept = {key for each in (before, config) for key in _swept(each.hydra)}
    saved, wanted = (_fixed_values(each, tuple(swept)) for each in (before, config))
    for key in AUTO_KEYS:
        if "auto" in (saved.get(key), wanted.get(key)):
            saved[key] = wanted.get(key)
    return describe_difference(saved, wanted)


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
