"""Callbacks of a training: sample grids, the checkpoint to resume from, progress, speed, averaged weights."""

from pkdn_lightning.train.callbacks.last_checkpoint import LastCheckpoint, TrainingInterruptedError
from pkdn_lightning.train.callbacks.progress_bar import StepBar
from pkdn_lightning.train.callbacks.progress_lines import ProgressLines
from pkdn_lightning.train.callbacks.sample_grid import SampleGrid
from pkdn_lightning.train.callbacks.throughput import Throughput
from pkdn_lightning.train.callbacks.weight_ema import WeightEMA

__all__ = [
    "LastCheckpoint",
    "ProgressLines",
    "SampleGrid",
    "StepBar",
    "Throughput",
    "TrainingInterruptedError",
    "WeightEMA",
]
