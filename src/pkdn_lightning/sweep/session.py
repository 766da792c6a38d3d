"""What the jobs of a sweep share: a folder that stays the same, and names that say what each job changes.

Hydra numbers jobs and dates sweeps, so that a sweep started again begins at nothing. Here `hydra.sweep.dir` is the same
every time and a job's folder is called by its overrides: the same command again meets the same folders.
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
"""The environment variable by which a job knows the session it is a job of."""

GROUPS: Final = ("ablation", "launch", "sweep")
"""Groups that say which jobs there are, and who runs them; a single job knows nothing of them."""

# Launchers send jobs to fresh processes, which compose there: whoever loads the callback can resolve.
register_resolvers()


class SweepSession(Callback):
    """Tells the jobs of a sweep what is the same for all of them.

    Attributes:
        latest: The last sweep of this process: its folder and its id; None if there was none.
    """

    latest: tuple[Path, str] | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Adds to what every job is composed of: the folder, the keys that do not vary, and the id of this session."""
        folder, session = Path(str(config.hydra.sweep.dir)), uuid.uuid4().hex[:12]
        varied = fixed_keys(config.hydra.overrides.task, config.hydra.sweeper.get("params") or {})
        names = ",".join(f"'{key}'" for key in varied)
        config.hydra.overrides.hydra.extend(
            [
                f"hydra.sweep.dir='{folder}'",  # a job may have another experiment, and stays in this sweep
                f"hydra.job.config.override_dirname.exclude_keys=[{names}]",
                f"+hydra.job.env_set.{SWEEP_ID}={session}",
            ]
        )
        sweeper = config.hydra.sweeper
        if sweeper.get("storage") and sweeper.get("study_name"):
            folder.mkdir(parents=True, exist_ok=True)  # the study's file lies there
            begun, ended = requeue(sweeper.storage, sweeper.study_name)
            sweeper.n_trials = max(0, sweeper.n_trials - ended)
            if sweeper.sampler.get("seed") is not None:
                sweeper.sampler.seed += begun  # or the sampler would draw once more what it drew in the last session
        SweepSession.latest = (folder, session)


def fixed_keys(overrides: Sequence[str], params: Sequence[str] | Any) -> list[str]:
    """Returns the keys of a command line that every job of a sweep has the same value of.

    Example:
        >>> fixed_keys(["experiment=demo", "seed=0,1"], {"objective.ts.weight": "0,1"})
        ['experiment']
    """
    last = {each.key_or_group: each for each in OverridesParser.create().parse_overrides(list(overrides))}
    return [key for key, override in last.items() if not override.is_sweep_override() and key not in params]


def requeue(storage: str, study_name: str) -> tuple[int, int]:
    """Puts the trials of a study back that were killed on their way, so that their jobs go on where they stopped.

    Args:
        storage: Where Optuna keeps the study; one that is not there yet is left to be made.
        study_name: Its name there.

    Returns:
        How many trials have been begun, and how many of them have come to their end.
    """
    import optuna
    from optuna.trial import TrialState

    if study_name not in [each.study_name for each in optuna.get_all_study_summaries(storage)]:
        return 0, 0
    study = optuna.load_study(study_name=study_name, storage=storage)
    begun = len(study.trials)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return begun, len(study.get_trials(states=(TrialState.COMPLETE,)))
