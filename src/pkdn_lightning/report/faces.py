"""The same faces restored by every row, for Figure 4 and for the page; a rule chooses the faces."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.console import progress
from pkdn_lightning.data.grids import render_figure
from pkdn_lightning.data.pixels import to_pixels
from pkdn_lightning.evaluate.measure import BICUBIC, Inputs, gather
from pkdn_lightning.report.measurements import Measurements
from pkdn_lightning.report.methods import is_ablation
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, Subject

LR: Final = "LR"
HR: Final = "HR"
BUDGET: Final = 4_500_000
"""Bytes of a page that images may take; faces are left out beyond it."""

Pixels = NDArray[np.uint8]


class RestoredFaces(NamedTuple):
    """N faces of a test set, as every row restores them."""

    names: Sequence[str]
    percentiles: Sequence[float]  # of the reference's PSNR gain over bicubic, ascending
    images: dict[str, Pixels]  # LR, bicubic, every row by its label, HR: (N, H, W, 3) each
    psnr: dict[str, NDArray[np.float64]]  # in dB, of bicubic and every row: (N,) each

    def spread(self, count: int) -> "RestoredFaces":
        """Returns `count` of the faces, evenly spread over the percentiles; all of them if there are fewer."""
        chosen = choose_faces(np.array(self.percentiles), count)
        return RestoredFaces(
            [self.names[face] for face in chosen],
            [self.percentiles[face] for face in chosen],
            {name: images[chosen] for name, images in self.images.items()},
            {name: psnr[chosen] for name, psnr in self.psnr.items()},
        )


class Figure(NamedTuple):
    """Figure 4: the file, titles of columns from left to right, names of faces from top to bottom, and caption."""

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


def shown_rows(rows: Sequence[Row], reference: str) -> list[Row]:
    """Returns the rows of Figure 4: the best of every comparable method by validation, the reference last.

    The ablation is left to Table 2.
    """
    comparable = [row for row in rows if not row.reads_parsing] or list(rows)
    last = next(row for row in rows if row.label == reference)
    chosen: dict[str, Row] = {}
    for row in comparable:
        if row.method != last.method and not is_ablation(row.method):
            chosen[row.method] = max(chosen.get(row.method, row), row, key=lambda each: each.best.validation)
    return [*chosen.values(), last]


@torch.inference_mode()
def restore_faces(subject: Subject, measurements: Measurements, count: int) -> dict[str, RestoredFaces]:
    """Returns `count` faces of every test set, or all of a smaller one; each row's network is loaded once.

    Args:
        subject: What the report is about; of every row the run that validated best restores.
        measurements: Loads the networks.
        count: How many faces of a test set.
    """
    chosen, inputs, found = {}, {}, {}
    for test_set, store in measurements.stores.items():
        scores = subject.scores[test_set]
        gain = scores[subject.reference].faces.psnr - scores[BICUBIC].faces.psnr
        chosen[test_set] = faces = choose_faces(gain, count)
        names = [scores[BICUBIC].faces.names[face] for face in faces]
        percentiles = [100 * (place + 0.5) / len(names) for place in range(len(names))]
        found[test_set] = RestoredFaces(names, percentiles, {}, {})
        rows = store.indices(measurements.spec.split)[faces]
        raw = gather(store, measurements.spec.plan(store, rows), measurements.device)
        inputs[test_set] = Inputs(raw, measurements.spec)
    methods = [BASELINE, *subject.rows]
    for row in progress(methods, "Restoring faces", len(methods)):
        run = row.best if row.runs else None
        method = measurements.method(run, row.label)
        for test_set, (_, _, images, psnr) in found.items():
            batch = inputs[test_set].of(method)
            images.pop(HR, None)  # stays last
            images |= {
                LR: to_pixels(batch["lr"]),
                row.label: to_pixels(method.restore(batch)),
                HR: to_pixels(batch["hr"]),
            }
            measured = subject.measured[row.label][test_set][row.runs.index(run) if run else 0]
            psnr[row.label] = measured.psnr[chosen[test_set]]
    return found


def draw_figure(subject: Subject, restored: Mapping[str, RestoredFaces], file: Path) -> Figure:
    """Draws Figure 4, the faces of the first test set.

    Args:
        subject: What the report is about.
        restored: Faces by test set, of which the first is drawn.
        file: Where the image goes.
    """
    test_set, faces = next(iter(restored.items()))
    titles = {BICUBIC: BICUBIC} | {row.label: row.method for row in shown_rows(subject.rows, subject.reference)}
    images = {LR: faces.images[LR].repeat(subject.scale, 1).repeat(subject.scale, 2)}
    images |= {title: faces.images[label] for label, title in titles.items()} | {HR: faces.images[HR]}
    columns = {title: torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 for title, pixels in images.items()}
    below = {title: [f"{psnr:.2f} dB" for psnr in faces.psnr[label]] for label, title in titles.items()}
    render_figure(columns, below, file)
    caption = (
        f"Figure 4: faces of {test_set}, x{subject.scale}, with their PSNR. Chosen by rule: the faces at the "
        f"percentiles {', '.join(f'{each:g}' for each in faces.percentiles)} of the PSNR gain of {subject.reference} "
        f"over bicubic, from top to bottom ({', '.join(faces.names)}). Of every method the run that validated best."
    )
    return Figure(file, tuple(columns), tuple(faces.names), caption)


def page_faces(restored: Mapping[str, RestoredFaces], budget: int = BUDGET) -> dict[str, RestoredFaces]:
    """Returns the faces that the page shows: fewer, or none of some test sets, where images would exceed `budget`.

    Args:
        restored: Faces by test set.
        budget: Bytes that all images together may take; one face of the first test set is shown whatever it takes.
    """
    first = next(iter(restored.values()))
    size = len(to_uri(first.images[HR][0])) * len(first.images)  # restored faces are smoother than HR, and take less
    count = max(1, min(len(first.names), budget // (size * len(restored))))
    fits = max(1, budget // (size * count))
    return {test_set: faces.spread(count) for test_set, faces in list(restored.items())[:fits]}


def to_uri(pixels: Pixels) -> str:
    """Returns an image (H, W, 3) as the data URI of a lossless PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
