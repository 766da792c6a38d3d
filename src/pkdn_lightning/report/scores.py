"""How rows compare on every test set: means over seeds, intervals, differences from the reference."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pkdn_lightning.evaluate.measure import BICUBIC
from pkdn_lightning.report.measurements import Faces, Speed
from pkdn_lightning.report.methods import STUDENT
from pkdn_lightning.report.published_values import SCALE, TABLE_1, Score, dataset_of
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.statistics import Array, bootstrap_intervals, crossed_interval, holm, paired_test

BASELINE: Final = Row(BICUBIC, BICUBIC, (), {})
"""Bicubic interpolation, the row without a run."""

Measured = Mapping[str, Sequence[Faces]]
"""Values of a row by test set, one entry per seed."""

Seeds = Mapping[str, Sequence[int]]
"""Seeds of rows by label."""


class Mean(NamedTuple):
    """A metric of a row on a test set, with its 95 % interval over images."""

    mean: float  # over images and seeds
    std: float | None  # of the seeds' means; None of a single seed
    low: float
    high: float


class Difference(NamedTuple):
    """A row minus the reference, image by image, with its 95 % interval over images.

    It is that of the seeds that both rows have, if there are any. The interval over seeds and faces, which needs two of
    them, is `statistics.crossed_interval`.
    """

    mean: float
    low: float
    high: float
    p: float  # of the paired test
    p_holm: float  # corrected for the number of rows on the test set
    seeds_faces_low: float | None = None
    seeds_faces_high: float | None = None
    common_seeds: int = 0

    @property
    def covers_seeds(self) -> bool:
        """Whether there is an interval over seeds and faces."""
        return self.seeds_faces_low is not None

    @property
    def interval(self) -> tuple[float, float]:
        """The interval over seeds and faces, or the one over faces where there is none."""
        if self.seeds_faces_low is None or self.seeds_faces_high is None:
            return self.low, self.high
        return self.seeds_faces_low, self.seeds_faces_high


class RowScores(NamedTuple):
    """A row on a test set; the reference itself has no differences."""

    faces: Faces  # averaged over seeds
    psnr: Mean  # in dB
    ssim: Mean
    psnr_gain: Difference | None
    ssim_gain: Difference | None
    seeds: int


@dataclass(frozen=True)
class Subject:
    """What all tables and plots of a report are about."""

    rows: Sequence[Row]  # without bicubic
    measured: Mapping[str, Measured]  # [label][test set], one entry per seed, with bicubic
    scores: Mapping[str, Mapping[str, RowScores]]  # [test set][label], with bicubic
    reference: str  # label of the row that the others are compared with
    speeds: Mapping[str, Speed]  # by label
    scale: int
    protocol: str  # what is compared, in words
    data: str  # what the runs were trained on, in words
    device: str  # what speeds were measured on, in words
    seed: int  # of the resampling

    @property
    def budget(self) -> str:
        """How long the methods were trained, and on how many faces a step, in words."""
        budgets = {(row.steps, row.runs[0].batch) for row in self.rows if not row.reads_parsing}
        if len(budgets) != 1:
            return "budgets differ (see the costs)"
        steps, batch = budgets.pop()
        return f"{steps} steps of {batch} faces"

    @property
    def checkpoints(self) -> str:
        """Which checkpoint of each run is measured, in words."""
        unchosen = sum(not math.isfinite(run.validation) for row in self.rows for run in row.runs)
        last = f"; the last one of {unchosen} that {'was' if unchosen == 1 else 'were'} never validated"
        return f"every run's best checkpoint by validation{last if unchosen else ''}"

    def published(self, test_set: str) -> Mapping[str, Score]:
        """Returns the paper's scores on a test set by method; none on test sets that it does not have."""
        dataset = dataset_of(test_set)
        return TABLE_1[dataset] if dataset and self.scale == SCALE else {}

    def against(self, reference: Row, others: Iterable[Row], test_set: str) -> dict[str, RowScores]:
        """Returns how some rows compare with another reference than the report's, by label."""
        rows = {row.label: row for row in (reference, *others)}
        measured = {label: self.measured[label] for label in rows}
        return compare(measured, reference.label, test_set, seeds_of(rows.values()), seed=self.seed)


def seeds_of(rows: Iterable[Row]) -> dict[str, tuple[int, ...]]:
    """Returns the seeds of rows by label, in the order of what was measured."""
    return {row.label: tuple(run.seed for run in row.runs) for row in rows}


def to_record(name: str, values: Mean | Difference | None) -> dict[str, float | None]:
    """Returns values for a CSV file: the mean as `name`, the others as `name_low` and so on; empty for None."""
    fields = values._asdict() if values else {}
    return {name if key == "mean" else f"{name}_{key}": value for key, value in fields.items()}


def choose_reference(rows: Sequence[Row], measured: Mapping[str, Measured]) -> Row:
    """Returns the row that the others are compared with.

    It is PKDN; of several, the longest trained one. Where PKDN was not run, it is the best comparable row by PSNR on
    the first test set.
    """
    students = [row for row in rows if row.method == STUDENT]
    if students:
        return max(students, key=lambda row: (max(run.faces_seen for run in row.runs), row.best.validation))

    def psnr(row: Row) -> float:
        return float(np.mean([faces.psnr.mean() for faces in next(iter(measured[row.label].values()))]))

    return max([row for row in rows if not row.reads_parsing] or rows, key=psnr)


def compare(
    measured: Mapping[str, Measured], reference: str, test_set: str, trained: Seeds, *, seed: int = 0
) -> dict[str, RowScores]:
    """Returns how rows compare on a test set, by label.

    Args:
        measured: The values of every row, by label.
        reference: Label of the row that is subtracted.
        test_set: Name of the test set.
        trained: The seeds that the rows were trained with; none for bicubic.
        seed: Seed of the resampling.
    """
    seeds = {label: sets[test_set] for label, sets in measured.items()}
    (psnr, psnr_gain), (ssim, ssim_gain) = (
        _compare(
            {label: [getattr(each, metric) for each in values] for label, values in seeds.items()},
            reference,
            trained,
            seed,
        )
        for metric in ("psnr", "ssim")
    )
    found = {}
    for label, values in seeds.items():
        means = [np.mean([getattr(each, metric) for each in values], axis=0) for metric in ("psnr", "ssim")]
        gains = psnr_gain.get(label), ssim_gain.get(label)
        found[label] = RowScores(Faces(values[0].names, *means), psnr[label], ssim[label], *gains, len(values))
    return found


def _compare(
    seeds: Mapping[str, Sequence[Array]], reference: str, trained: Seeds, seed: int
) -> tuple[dict[str, Mean], dict[str, Difference]]:
    """Returns means and differences of one metric, by label."""
    by_seed = {label: dict(zip(trained[label], each, strict=False)) for label, each in seeds.items()}  # bicubic: none
    values = {label: np.mean(each, axis=0) for label, each in seeds.items()}
    differences = np.stack(
        [_over_common_seeds(by_seed[label], by_seed[reference], values[label] - values[reference]) for label in seeds],
        axis=1,
    )
    ends = bootstrap_intervals(np.hstack([np.stack([*values.values()], axis=1), differences]), seed=seed).tolist()
    means, gains = {}, {}
    for (label, each), interval in zip(seeds.items(), ends, strict=False):
        of_seeds = [float(one.mean()) for one in each]
        std = float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else None
        means[label] = Mean(float(np.mean(of_seeds)), std, *interval)
    others = {label: place for place, label in enumerate(seeds) if label != reference}
    p_values = [paired_test(differences[:, place]) for place in others.values()]
    for (label, place), p, p_holm in zip(others.items(), p_values, holm(p_values), strict=True):
        low, high = ends[len(seeds) + place]
        over_seeds = _over_seeds(by_seed[label], by_seed[reference])
        gains[label] = Difference(float(differences[:, place].mean()), low, high, p, p_holm, *over_seeds)
    return means, gains


def _over_common_seeds(row: Mapping[int, Array], reference: Mapping[int, Array], of_all: Array) -> Array:
    """Returns the difference of each face over the seeds that both rows have, that of all seeds if they share none."""
    common = sorted(row.keys() & reference.keys())
    alike = row.keys() == reference.keys() or not common
    return of_all if alike else np.mean([row[seed] - reference[seed] for seed in common], axis=0)


def _over_seeds(row: Mapping[int, Array], reference: Mapping[int, Array]) -> tuple[float | None, float | None, int]:
    """Returns the interval over seeds and faces of a difference, and how many seeds the rows have in common."""
    common = sorted(row.keys() & reference.keys())
    if len(common) < 2 or len(row[common[0]]) < 2:
        return None, None, len(common)
    return *crossed_interval(np.stack([row[seed] - reference[seed] for seed in common])), len(common)
