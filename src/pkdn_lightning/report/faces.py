"""The same faces under every row, as images a page can hold; a rule chooses the faces."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from pkdn_lightning.data.pixels import to_pixels
from pkdn_lightning.evaluate.measure import BICUBIC, Method, bicubic_method, gather, serve
from pkdn_lightning.report.comparison import FLOOR, RowScores
from pkdn_lightning.report.figure import choose_faces, percentiles
from pkdn_lightning.report.measurements import Faces, Measurements
from pkdn_lightning.report.rows import Row

LR: Final = "LR"
HR: Final = "HR"
BUDGET: Final = 4_500_000
"""Bytes of a page that images may take; faces are left out beyond it."""


class View(NamedTuple):
    """An image of a face.

    Attributes:
        name: LR, bicubic, a row's label, or HR.
        psnr: In dB; None of LR and HR.
        uri: The image, lossless, as a data URI.
    """

    name: str
    psnr: float | None
    uri: str


class Face(NamedTuple):
    """A face under every row.

    Attributes:
        name: Its name in the test set.
        percentile: Of the reference's gain over bicubic.
        views: LR, bicubic, every row, HR.
    """

    name: str
    percentile: float
    views: tuple[View, ...]


def restore_faces(
    rows: Sequence[Row],
    measured: Mapping[str, Mapping[str, Sequence[Faces]]],
    scores: Mapping[str, Mapping[str, RowScores]],
    reference: str,
    measurements: Measurements,
    *,
    faces: int,
    budget: int = BUDGET,
) -> dict[str, list[Face]]:
    """Returns faces by test set: as many as asked for, or fewer where their images would take more than `budget`.

    Args:
        rows: All rows; of each the run that validated best.
        measured: Values by label and test set, one entry per seed.
        scores: How they stand, by test set and label.
        reference: Label of the row whose gain over bicubic chooses the faces.
        measurements: Loads the networks.
        faces: How many faces of a test set at most.
        budget: Bytes that all images together may take; one face of the first test set is shown whatever it takes.
    """
    chosen = _choose(rows, scores, reference, measurements, faces, budget)
    serving, device = measurements.serving, measurements.device
    raws = {
        name: gather(store, store.indices(serving.split)[chosen[name]], device)
        for name, store in measurements.stores.items()
        if chosen[name]
    }
    restored = {name: [_ends(raw, measurements, LR)] for name, raw in raws.items()}
    for row in track([FLOOR, *rows], "Restoring faces for the page", transient=True):
        run = row.best if row.runs else None
        method = measurements.method(run, row.label) if run else bicubic_method(serving.scale)
        for name, raw in raws.items():
            psnr = measured[row.label][name][row.runs.index(run) if run else 0].psnr
            images = to_uris(_restored(method, raw, measurements))
            views = [View(row.label, float(psnr[face]), uri) for face, uri in zip(chosen[name], images, strict=True)]
            restored[name].append(views)
    found = {}
    for name, raw in raws.items():
        names, ranks = scores[name][BICUBIC].faces.names, percentiles(len(chosen[name]))
        by_face = zip(*restored[name], _ends(raw, measurements, HR), strict=True)
        found[name] = [
            Face(names[face], rank, views) for face, rank, views in zip(chosen[name], ranks, by_face, strict=True)
        ]
    return found


def _choose(
    rows: Sequence[Row],
    scores: Mapping[str, Mapping[str, RowScores]],
    reference: str,
    measurements: Measurements,
    faces: int,
    budget: int,
) -> dict[str, list[int]]:
    """Returns the places of the faces in each test set's split; none of the sets that are beyond the budget."""
    stores, split = measurements.stores, measurements.serving.split
    first = next(iter(stores.values()))
    hr = torch.from_numpy(first.hr[first.indices(split)[:1]]).permute(0, 3, 1, 2) / 255
    size = len(to_uris(hr)[0]) * (len(rows) + 2)  # restored faces are smoother than the true one, and take less
    count = max(1, min(faces, budget // (size * len(stores))))
    chosen = {}
    for place, (name, each) in enumerate(scores.items()):
        fits = place == 0 or size * count * (place + 1) <= budget
        gain = each[reference].faces.psnr - each[BICUBIC].faces.psnr
        chosen[name] = choose_faces(gain, count) if fits else []
    return chosen


@torch.inference_mode()
def _restored(method: Method, raw: Mapping[str, torch.Tensor], measurements: Measurements) -> torch.Tensor:
    return method.restore(serve(raw, measurements.serving, method))


def _ends(raw: Mapping[str, torch.Tensor], measurements: Measurements, name: str) -> list[View]:
    """Returns what was given, LR, or what is wanted, HR."""
    batch = serve(raw, measurements.serving, bicubic_method(measurements.serving.scale))
    return [View(name, None, uri) for uri in to_uris(batch["lr"] if name == LR else batch["hr"])]


def to_uris(images: torch.Tensor) -> list[str]:
    """Returns images (B, 3, H, W) in [0, 1] as data URIs of PNG files: what was measured, to the last bit."""
    uris = []
    for pixels in to_pixels(images):
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
        uris.append(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
    return uris
