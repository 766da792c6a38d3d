"""Learning curves: what the rows' runs logged over time, read from their metrics.csv."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import DataError
from pkdn_lightning.evaluate.measure import Serving, bicubic_method, gather, serve
from pkdn_lightning.metrics import psnr
from pkdn_lightning.report.rows import Row

VALIDATION: Final = "val/psnr_y"
LOSS: Final = "train/loss/"
WEIGHT: Final = "train/weight/"
POINTS: Final = 240
"""How many points of a curve are kept; of longer ones, means of neighbours."""


class Series(NamedTuple):
    """A logged value over time.

    Attributes:
        steps: After how many training steps, ascending, (N,).
        values: The values, (N,).
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


class Curve(NamedTuple):
    """A value of a row over time.

    Attributes:
        steps: After how many training steps, (N,).
        mean: Over seeds, (N,).
        low: The lowest of the seeds, (N,).
        high: The highest of the seeds, (N,).
        seeds: How many there are.
    """

    steps: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    seeds: int


def read_metrics(file: Path) -> dict[str, Series]:
    """Returns the logged values of a run by name; none where there is no such file, or it cannot be read.

    What is not a finite number is left out; so is everything that was logged without a step.
    """
    found: dict[str, dict[float, float]] = {}
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            for line in csv.DictReader(opened):
                step = _number(line.get("step"))
                for name, text in line.items():
                    value = _number(text)
                    if step is not None and value is not None and isinstance(name, str):
                        found.setdefault(name, {})[step + 1] = value  # the first step is logged as 0
    except (OSError, ValueError, csv.Error):
        return {}
    return {name: _thinned(values) for name, values in found.items()}


def read_curves(row: Row) -> dict[str, Curve]:
    """Returns the validation, the loss terms and their weights of a row over time, by their logged names."""
    logs = [read_metrics(run.folder.metrics) for run in row.runs]
    names = dict.fromkeys(name for log in logs for name in log if name == VALIDATION or name.startswith((LOSS, WEIGHT)))
    return {name: over_seeds([log[name] for log in logs if name in log]) for name in names}


def over_seeds(seeds: Sequence[Series]) -> Curve:
    """Returns the mean and the range of several runs, as far as all of them were trained."""
    end = min(float(series.steps[-1]) for series in seeds)
    steps = np.unique(np.concatenate([series.steps[series.steps <= end] for series in seeds]))
    begin = max(float(series.steps[0]) for series in seeds)
    steps = steps[steps >= begin] if begin <= end else steps
    values = np.stack([np.interp(steps, series.steps, series.values) for series in seeds])
    return Curve(steps, values.mean(0), values.min(0), values.max(0), len(seeds))


def terms_of(curves: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """Returns the names of the loss terms that rows logged, those of most rows first."""
    count: dict[str, int] = {}
    for logged in curves.values():
        for name in logged:
            if name.startswith(LOSS):
                count[name.removeprefix(LOSS)] = count.get(name.removeprefix(LOSS), 0) + 1
    return sorted(count, key=lambda term: (-count[term], term))


@torch.inference_mode()
def validation_floor(rows: Sequence[Row], serving: Serving, device: torch.device) -> float | None:
    """Returns bicubic's PSNR in dB on the faces that all rows were validated on.

    None where the rows were validated on different faces or on a part of them, or the store is no longer there.
    """
    runs = [run for row in rows for run in row.runs]
    limits = {str(run.config["trainer"].get("limit_val_batches")) for run in runs}
    if len({run.results["data"]["sha256"] for run in runs}) != 1 or not limits <= {"1.0", "None"}:
        return None
    try:
        store = FaceStore.open(runs[0].config["data"]["store"], verify=False)
        chosen = store.indices("val")
    except (DataError, OSError):
        return None
    if store.sha256 != runs[0].results["data"]["sha256"]:
        return None
    bicubic = bicubic_method(serving.scale)
    found = []
    for start in range(0, len(chosen), serving.batch_size):
        raw = gather(store, chosen[start : start + serving.batch_size], device)
        batch = serve(raw, serving, bicubic)
        found.append(psnr(bicubic.restore(batch), batch["hr"]))
    return float(torch.cat(found).mean())


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _thinned(values: Mapping[float, float]) -> Series:
    steps = np.array(sorted(values))
    ordered = np.array([values[step] for step in steps])
    if len(steps) > POINTS:
        steps, ordered = (np.array([part.mean() for part in np.array_split(each, POINTS)]) for each in (steps, ordered))
    return Series(steps, ordered)
