"""MLflow in a folder: no server, one database for all runs, and resumable runs."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import MLFlowLogger

_KEY: Final = "pkdn_run"


class LocalMLFlowLogger(MLFlowLogger):
    """Lightning's MLflow logger on an SQLite file.

    MLflow's older file store cannot hold `train/loss` beside `train/loss/sr` and is deprecated.

    Args:
        folder: Holds `mlflow.db` and the images; made if it is not there.
        experiment_name: Name of the MLflow experiment.
        run_name: Name of the MLflow run.
        run_key: Identifies the run; an MLflow run that has it is continued.
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
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it logs every table that it creates
        if tracking_uri is None:
            place.mkdir(parents=True, exist_ok=True)
        super().__init__(
            experiment_name=experiment_name,
            run_name=run_name,
            tracking_uri=tracking_uri or f"sqlite:///{place / 'mlflow.db'}",
            artifact_location=None if tracking_uri else (place / "artifacts").as_uri(),
            tags={**(tags or {}), _KEY: run_key},
        )
        self.run_key, self._searched, self._resumed = run_key, False, False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The client; the first access finds the MLflow run of a resumed run."""
        if not self._searched:
            self._searched = True
            known = self._mlflow_client.get_experiment_by_name(self._experiment_name)
            if known is None:  # Lightning would warn while creating it
                self._mlflow_client.create_experiment(self._experiment_name, artifact_location=self._artifact_location)
            elif self.run_key:
                found = self._mlflow_client.search_runs([known.experiment_id], f"tags.{_KEY} = '{self.run_key}'")
                self._run_id, self._resumed = (found[0].info.run_id, True) if found else (None, False)
        return super().experiment

    def log_hyperparams(self, params: Any) -> None:
        """Logs the configuration once: MLflow refuses changed values, such as a raised length, in a resumed run."""
        _ = self.experiment
        if not self._resumed:
            super().log_hyperparams(params)
