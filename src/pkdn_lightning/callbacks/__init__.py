"""What happens around the training loop: sample grids, the resumable checkpoint, the CSV log, throughput."""

from pkdn_lightning.callbacks.csv_log import ResumableCSVLogger
from pkdn_lightning.callbacks.last_checkpoint import LastCheckpoint, TrainingInterruptedError
from pkdn_lightning.callbacks.pruning import SuccessiveHalving, TrainingPrunedError
from pkdn_lightning.callbacks.sample_grid import SampleGrid
from pkdn_lightning.callbacks.throughput import Throughput

__all__ = [
    "LastCheckpoint",
    "ResumableCSVLogger",
    "SampleGrid",
    "SuccessiveHalving",
    "Throughput",
    "TrainingInterruptedError",
    "TrainingPrunedError",
]
