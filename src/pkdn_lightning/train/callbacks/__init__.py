"""Callbacks: checkpoints, progress, speed, averaged weights, sample grids, a watch for collapsed networks."""

from pkdn_lightning.train.callbacks.collapse_watch import CollapseWatch
from pkdn_lightning.train.callbacks.last_checkpoint import LastCheckpoint, TrainingInterruptedError
from pkdn_lightning.train.callbacks.progress_bar import StepBar
from pkdn_lightning.train.callbacks.progress_lines import ProgressLines
from pkdn_lightning.train.callbacks.sample_grid import SampleGrid
from pkdn_lightning.train.callbacks.throughput import Throughput
from pkdn_lightning.train.callbacks.weight_ema import WeightEMA

__all__ = [
    "CollapseWatch",
    "LastCheckpoint",
    "ProgressLines",
    "SampleGrid",
    "StepBar",
    "Throughput",
    "TrainingInterruptedError",
    "WeightEMA",
]
