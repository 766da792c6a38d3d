"""Figure 4: the same faces restored by every method, side by side; a rule chooses the faces."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.data.datamodule import Batch
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.data.grids import render_figure
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.evaluate.measure import BICUBIC, bicubic_method, gather, serve
from pkdn_lightning.report.comparison import RowScores
from pkdn_lightning.report.measurements import Measurements
from pkdn_lightning.report.methods import is_ablation
from pkdn_lightning.report.rows import Row


class Figure(NamedTuple):
    """What was drawn.

    Attributes:
        file: The image.
        columns: Titles, from left to right.
        faces: Names of the faces, from top to bottom.
        caption: What is shown, and the rule that chose it.
    """

    file: Path
    columns: tuple[str, ...]
    faces: tuple[str, ...]
    caption: str


def choose_faces(gain: NDArray[np.float64], count: int) -> list[int]:
    """Returns the faces at evenly spread percentiles of a gain: of five, the 10th, 30th, 50th, 70th and 90th.

    Args:
        gain: One value per face, (N,).
        count: How many faces to choose; at most N are.

    Example:
        >>> choose_faces(np.array([3.0, 1.0, 2.0]), 2)
        [1, 0]
    """
    count = min(count, len(gain))
    order = np.argsort(gain, kind="stable")
    return [int(order[int((place + 0.5) / count * len(gain))]) for place in range(count)]


def percentiles(count: int) -> list[float]:
    """Returns the percentiles that `choose_faces` takes."""
    return [100 * (place + 0.5) / count for place in range(count)]


def shown_rows(rows: Sequence[Row], reference: str) -> list[Row]:
    """Returns the rows that are drawn: the best of every comparable method by validation, the reference last.

    The ablation is Table 2's.
    """
    comparable = [row for row in rows if not row.reads_parsing] or list(rows)
    last = next(row for row in rows if row.label == reference)
    chosen: dict[str, Row] = {}
    for row in comparable:
        if (
            row.method != last.method
            and not is_ablation(row.method)
            and (row.method not in chosen or row.best.validation > chosen[row.method].best.validation)
        ):
            chosen[row.method] = row
    return [*chosen.values(), last]


@torch.inference_mode()
def draw_figure(
    rows: Sequence[Row],
    scores: Mapping[str, RowScores],
    reference: str,
    test_set: tuple[str, FaceStore],
    measurements: Measurements,
    *,
    faces: int,
    file: Path,
) -> Figure:
    """Draws Figure 4.

    Args:
        rows: All rows.
        scores: How they stand on the test set, by label.
        reference: Label of the row whose gain over bicubic chooses the faces.
        test_set: Name and store.
        measurements: Loads the networks.
        faces: How many faces.
        file: Where the image goes.
    """
    name, store = test_set
    gain = scores[reference].faces.psnr - scores[BICUBIC].faces.psnr
    chosen = choose_faces(gain, faces)
    serving, device = measurements.serving, measurements.device
    raw = gather(store, store.indices(serving.split)[chosen], device)
    batch: Batch = serve(raw, serving, bicubic_method(serving.scale))
    columns: dict[str, Tensor] = {
        "LR": batch["lr"].repeat_interleave(serving.scale, -1).repeat_interleave(serving.scale, -2),
        BICUBIC: enlarge(batch["lr"], serving.scale),
    }
    below = {BICUBIC: [f"{scores[BICUBIC].faces.psnr[face]:.2f} dB" for face in chosen]}
    for row in shown_rows(rows, reference):
        run = row.best
        method = measurements.method(run, row.label)
        columns[row.method] = method.restore(serve(raw, serving, method))
        psnr = measurements.run(run, row.label)[name].psnr
        below[row.method] = [f"{psnr[face]:.2f} dB" for face in chosen]
    columns["HR"] = batch["hr"]
    names = [scores[BICUBIC].faces.names[face] for face in chosen]
    render_figure(columns, below, file)
    ranks = ", ".join(f"{percentile:g}" for percentile in percentiles(len(chosen)))
    caption = (
        f"Figure 4: faces of {name}, x{serving.scale}, with their PSNR. Chosen by rule: the faces at the percentiles "
        f"{ranks} of the PSNR gain of {reference} over bicubic, from top to bottom ({', '.join(names)}). Of every "
        "method the run that validated best."
    )
    return Figure(file, tuple(columns), tuple(names), caption)
