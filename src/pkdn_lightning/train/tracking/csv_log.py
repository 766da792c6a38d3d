"""The CSV log that survives a resume, a kill and a full disk."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.pytorch.loggers import CSVLogger

from pkdn_lightning.files import whole_file


class ResumableCSVLogger(CSVLogger):
    """Writes `metrics.csv`; a resumed run appends to it, where Lightning's own logger deletes it."""

    def log_hyperparams(self, params: Any = None) -> None:
        """Does nothing: the run folder has config.yaml."""

    @property
    def experiment(self) -> _ExperimentWriter:
        """The writer of the file."""
        if self._experiment is None:
            self._experiment = _Appender(self.log_dir)
        return super().experiment


class _Appender(_ExperimentWriter):
    """Appends rows to a file that may exist, and replaces the file as a whole when there are new columns."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        file = Path(self.metrics_file_path)
        if file.is_file():
            with file.open(newline="", encoding="utf-8") as opened:
                self.metrics_keys = next(csv.reader(opened), [])

    def _check_log_dir_exists(self) -> None:
        """Keeps the file."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        rewrite_rows(Path(self.metrics_file_path), fieldnames)


def rewrite_rows(file: Path, columns: list[str] | None = None, before_step: float = float("inf")) -> None:
    """Rewrites a metrics.csv as a whole.

    Args:
        file: The file.
        columns: The columns to write; None for those of the file.
        before_step: Rows from this step on are left out, and so are rows that a kill or a full disk cut off.
    """
    with file.open(newline="", encoding="utf-8") as source:
        lines = [line for line in source if line.endswith("\n")]
    reader = csv.DictReader(lines)
    rows = [row for row in reader if _step(row) < before_step]
    with whole_file(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, columns or list(reader.fieldnames or []))
        writer.writeheader()
        writer.writerows(rows)


def _step(row: Mapping[str | None, str | None]) -> float:
    """Returns a row's step; infinity for what is not a whole row."""
    if None in row or None in row.values():  # more cells than columns, or fewer
        return float("inf")
    try:
        return float(row["step"] or "")
    except (KeyError, ValueError):
        return float("inf")
