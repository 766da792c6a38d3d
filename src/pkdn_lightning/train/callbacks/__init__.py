"""What happens around the training loop: sample grids, the resumable checkpoint, the CSV log, throughput."""

from pkdn_lightning.train.callbacks.last_checkpoint import LastCheckpoint, TrainingInterruptedError
from pkdn_lightning.train.callbacks.sample_grid import SampleGrid
from pkdn_lightning.train.callbacks.throughput import Throughput
from pkdn_lightning.train.tracking.csv_log import ResumableCSVLogger

__all__ = [
    "LastCheckpoint",
    "ResumableCSVLogger",
    "SampleGrid",
    "Throughput",
    "TrainingInterruptedError",
]
