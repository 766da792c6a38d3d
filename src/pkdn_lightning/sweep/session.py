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
from omegaconf import DictConfig

from pkdn_lightning.config.resolvers import register_resolvers

SWEEP_ID: Final = "PKDN_SWEEP_ID"
"""The environment variable with the id of the session that a job belongs to."""

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
            folder.mkdir(parents=True, exist_ok=True)  # for the study's file
            started, completed = requeue(sweeper.storage, sweeper.study_name)
            sweeper.n_trials = max(0, sweeper.n_trials - completed)
            if sweeper.sampler.get("seed") is not None:
                sweeper.sampler.seed += started  # otherwise it would repeat the previous session's draws
        SweepSession.latest = (folder, session)


def fixed_keys(overrides: Sequence[str], params: Sequence[str] | Any) -> list[str]:
    """Returns the keys of a command line whose values are the same in every job of a sweep.

    Example:
        >>> fixed_keys(["experiment=demo", "seed=0,1"], {"objective.ts.weight": "0,1"})
        ['experiment']
    """
    last = {each.key_or_group: each for each in OverridesParser.create().parse_overrides(list(overrides))}
    return [key for key, override in last.items() if not override.is_sweep_override() and key not in params]


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
