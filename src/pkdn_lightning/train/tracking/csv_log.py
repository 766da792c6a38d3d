"""The CSV log that survives a resume."""

from pathlib import Path
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger


class ResumableCSVLogger(CSVLogger):
    """Writes `metrics.csv`; a resumed run appends to it, where Lightning's own logger deletes it."""

    def log_hyperparams(self, params: Any = None) -> None:
        """Does nothing: the run folder has config.yaml."""

    @property
    def experiment(self) -> _ExperimentWriter:
        """The writer of the file."""
        if self._experiment is None:
            file, kept = Path(self.log_dir) / "metrics.csv", Path(self.log_dir) / ".metrics.kept.csv"
            if file.is_file():
                file.replace(kept)  # Lightning clears the folder's metrics.csv when it opens it
            writer: Any = super().experiment
            if kept.is_file():
                kept.replace(file)
                writer.metrics_keys = file.open(encoding="utf-8").readline().strip().split(",")
        return super().experiment
