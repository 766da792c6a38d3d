"""MLflow in a folder: no server, one database for all runs, and a resumed run that goes on in its own place."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import MLFlowLogger

_KEY: Final = "pkdn_run"


class LocalMLFlowLogger(MLFlowLogger):
    """Lightning's MLflow logger on an SQLite file.

    MLflow's old folders of text files cannot hold `train/loss` beside `train/loss/sr`, and are given up by MLflow.

    Args:
        folder: Holds `mlflow.db` and the images; made if it is not there.
        experiment_name: Name of the MLflow experiment.
        run_name: Name of the MLflow run.
        run_key: Tells our runs apart; the run that has it already is gone on in.
        tags: What runs can be filtered by.
        tracking_uri: Address of a server to use instead of the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        experiment_name: str,
        *,
        run_name: str | None = None,
        run_key: str = "",
        tags: Mapping[str, Any] | None = None,
        tracking_uri: str | None = None,
    ) -> None:
        place = Path(folder).resolve()
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table it makes
        if tracking_uri is None:
            place.mkdir(parents=True, exist_ok=True)
        super().__init__(
            experiment_name=experiment_name,
            run_name=run_name,
            tracking_uri=tracking_uri or f"sqlite:///{place / 'mlflow.db'}",
            artifact_location=None if tracking_uri else (place / "artifacts").as_uri(),
            tags={**(tags or {}), _KEY: run_key},
        )
        self.run_key, self._looked, self._resumed = run_key, False, False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The client; asked for the first time, it looks whether the run was begun before."""
        if not self._looked:
            self._looked = True
            known = self._mlflow_client.get_experiment_by_name(self._experiment_name)
            if known is None:  # Lightning would warn that it makes it
                self._mlflow_client.create_experiment(self._experiment_name, artifact_location=self._artifact_location)
            elif self.run_key:
                found = self._mlflow_client.search_runs([known.experiment_id], f"tags.{_KEY} = '{self.run_key}'")
                self._run_id, self._resumed = (found[0].info.run_id, True) if found else (None, False)
        return super().experiment

    def log_hyperparams(self, params: Any) -> None:
        """Logs the configuration once: MLflow refuses other values in a run that has begun, as a raised length."""
        _ = self.experiment
        if not self._resumed:
            super().log_hyperparams(params)
