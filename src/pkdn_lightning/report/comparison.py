"""How rows stand on every test set: means over seeds, intervals over images, differences to the reference."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from pkdn_lightning.evaluate.measure import BICUBIC
from pkdn_lightning.report.measurements import Faces
from pkdn_lightning.report.methods import STUDENT
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.statistics import bootstrap_intervals, holm, paired_test

FLOOR: Final = Row(BICUBIC, BICUBIC, (), {})
"""The row without a run."""


class Mean(NamedTuple):
    """A metric of a row on a test set.

    Attributes:
        mean: Over images and seeds.
        std: Of the seeds' means; None of a single seed.
        low: Lower end of the 95 % interval over images, of the values averaged over seeds.
        high: Upper end.
    """

    mean: float
    std: float | None
    low: float
    high: float


class Difference(NamedTuple):
    """A row less the reference, image by image, of the values averaged over seeds.

    Attributes:
        mean: Over images.
        low: Lower end of the 95 % interval.
        high: Upper end.
        p: Of the paired test.
        p_holm: Corrected for the number of rows on the test set.
    """

    mean: float
    low: float
    high: float
    p: float
    p_holm: float


class RowScores(NamedTuple):
    """A row on a test set; the differences are None of the reference itself.

    Attributes:
        faces: Values per image, averaged over seeds.
        psnr: In dB.
        ssim: Up to 1.
        psnr_gain: PSNR less the reference's.
        ssim_gain: SSIM less the reference's.
        seeds: Number of trainings.
    """

    faces: Faces
    psnr: Mean
    ssim: Mean
    psnr_gain: Difference | None
    ssim_gain: Difference | None
    seeds: int


Measured = Mapping[str, Sequence[Faces]]
"""Values of a row by test set, one entry per seed."""


def choose_reference(rows: Sequence[Row], measured: Mapping[str, Measured]) -> Row:
    """Returns the row that the others are compared with.

    It is PKDN; of several, the longest trained one. Where PKDN was not run, it is the best comparable row by PSNR on
    the first test set.
    """

    def psnr(row: Row) -> float:
        return float(np.mean([faces.psnr.mean() for faces in next(iter(measured[row.label].values()))]))

    def budget(row: Row) -> tuple[int, float]:
        return max(int(run.results["steps"]) * run.batch for run in row.runs), row.best.validation

    candidates = [row for row in rows if row.method == STUDENT]
    if candidates:
        return max(candidates, key=budget)
    return max([row for row in rows if not row.reads_parsing] or rows, key=psnr)


def compare(measured: Mapping[str, Measured], reference: str, test_set: str, *, seed: int = 0) -> dict[str, RowScores]:
    """Returns how rows stand on a test set, by label.

    Args:
        measured: The values of every row, by label.
        reference: Label of the row that is subtracted.
        test_set: Name of the test set.
        seed: Of the resampling.
    """
    labels = list(measured)
    seeds = {label: measured[label][test_set] for label in labels}
    faces = {label: _average(seeds[label]) for label in labels}
    others = [label for label in labels if label != reference]
    psnr, ssim = (np.stack([getattr(faces[label], key) for label in labels], axis=1) for key in ("psnr", "ssim"))
    base = labels.index(reference)
    differences = np.hstack([psnr - psnr[:, [base]], ssim - ssim[:, [base]]])
    intervals = bootstrap_intervals(np.hstack([psnr, ssim, differences]), seed=seed)
    means = np.split(intervals, 4)  # of PSNR, SSIM and the differences in both
    gains: list[dict[str, Difference]] = []
    for metric in range(2):
        columns = np.split(differences, 2, axis=1)[metric]
        p = [paired_test(columns[:, labels.index(label)]) for label in others]
        corrected = holm(p)
        gains.append({})
        for place, label in enumerate(others):
            low, high = means[2 + metric][labels.index(label)]
            mean = float(columns[:, labels.index(label)].mean())
            gains[metric][label] = Difference(mean, float(low), float(high), p[place], corrected[place])
    return {
        label: RowScores(
            faces[label],
            _mean([each.psnr for each in seeds[label]], means[0][place]),
            _mean([each.ssim for each in seeds[label]], means[1][place]),
            gains[0].get(label),
            gains[1].get(label),
            len(seeds[label]),
        )
        for place, label in enumerate(labels)
    }


def _average(seeds: Sequence[Faces]) -> Faces:
    return Faces(
        seeds[0].names,
        np.mean([faces.psnr for faces in seeds], axis=0),
        np.mean([faces.ssim for faces in seeds], axis=0),
    )


def _mean(seeds: Sequence[np.ndarray], interval: np.ndarray) -> Mean:
    means = [float(values.mean()) for values in seeds]
    std = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return Mean(float(np.mean(means)), std, float(interval[0]), float(interval[1]))
