"""Learning curves: what the rows' runs logged over time, read from their metrics.csv."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pkdn_lightning.evaluate.measure import InputSpec, bicubic_method, measure
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.report.rows import Row

VALIDATION: Final = "val/psnr_y"
LOSS: Final = "train/loss/"
WEIGHT: Final = "train/weight/"
POINTS: Final = 240
"""How many points of a curve are kept; longer ones are averaged over neighbouring points."""

Values = NDArray[np.float64]


class Series(NamedTuple):
    """Logged values, (N,), and the number of training steps after which each was logged, ascending, (N,)."""

    steps: Values
    values: Values


class Curve(NamedTuple):
    """A value of a row after N numbers of training steps: mean and range over seeds, (N,) each."""

    steps: Values
    mean: Values
    low: Values
    high: Values
    seeds: int


def read_metrics(file: Path) -> dict[str, Series]:
    """Returns the logged values of a run by name; none where there is no such file, or it cannot be read.

    Values that are not finite, and values without a step, are left out.
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
    return {name: _averaged(values) for name, values in found.items()}


def read_curves(row: Row) -> dict[str, Curve]:
    """Returns the validation, the loss terms and their weights of a row over time, by their logged names."""
    logs = [read_metrics(run.folder.metrics) for run in row.runs]
    names = dict.fromkeys(name for log in logs for name in log if name == VALIDATION or name.startswith((LOSS, WEIGHT)))
    return {name: over_seeds([log[name] for log in logs if name in log]) for name in names}


def over_seeds(seeds: Sequence[Series]) -> Curve:
    """Returns the mean and the range of several runs, over the steps that all of them logged."""
    begin, end = max(float(each.steps[0]) for each in seeds), min(float(each.steps[-1]) for each in seeds)
    steps = np.unique(np.concatenate([each.steps for each in seeds]))
    steps = steps[(steps <= end) & (steps >= min(begin, end))]
    values = np.stack([np.interp(steps, each.steps, each.values) for each in seeds])
    return Curve(steps, values.mean(0), values.min(0), values.max(0), len(seeds))


def loss_terms(curves: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """Returns the names of the loss terms that rows logged, those of most rows first."""
    count = Counter(name.removeprefix(LOSS) for logged in curves.values() for name in logged if name.startswith(LOSS))
    return sorted(count, key=lambda term: (-count[term], term))


def bicubic_validation(rows: Sequence[Row], spec: InputSpec, device: torch.device) -> float | None:
    """Returns bicubic's PSNR in dB on the faces that all rows were validated on.

    None where rows were validated on different faces or on a part of them, or their store is no longer there.
    """
    runs = [run for row in rows for run in row.runs]
    limits = {str(run.config["trainer"].get("limit_val_batches")) for run in runs}
    alike = len({run.results["data"]["sha256"] for run in runs}) == 1 and limits <= {"1.0", "None"}
    store = runs[0].open_store() if alike else None
    if store is None:
        return None
    faces = measure([bicubic_method(spec.scale)], store, spec._replace(split="val"), [HEADLINE.name], device)
    return float(np.mean([face["psnr_y"] for face in faces]))


def _number(text: object) -> float | None:
    try:
        value = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _averaged(logged: Mapping[float, float]) -> Series:
    steps = np.array(sorted(logged))
    values = np.array([logged[step] for step in steps])
    if len(steps) > POINTS:
        steps, values = (np.array([part.mean() for part in np.array_split(each, POINTS)]) for each in (steps, values))
    return Series(steps, values)
