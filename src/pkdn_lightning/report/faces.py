"""The same faces under every row, as pictures a page can hold; a rule chooses the faces."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from pkdn_lightning.grids import to_pixels
from pkdn_lightning.measuring import BICUBIC, Method, bicubic_method, gather, serve
from pkdn_lightning.report.collecting import Row
from pkdn_lightning.report.comparison import FLOOR, Standing
from pkdn_lightning.report.figure import choose_faces, percentiles
from pkdn_lightning.report.measurements import Measurements

LR: Final = "LR"
HR: Final = "HR"
BUDGET: Final = 4_500_000
"""Bytes of a page that pictures may take; faces are left out beyond it."""


class View(NamedTuple):
    """A picture of a face.

    Attributes:
        name: LR, bicubic, a row's label, or HR.
        psnr: In dB; None of LR and HR.
        uri: The picture, lossless, as a data URI.
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
    standings: Mapping[str, Mapping[str, Standing]],
    reference: str,
    measurements: Measurements,
    *,
    faces: int,
    budget: int = BUDGET,
) -> dict[str, list[Face]]:
    """Returns faces by test set: as many as asked for, or fewer where their pictures would take more than `budget`.

    Args:
        rows: All rows; of each the run that validated best.
        standings: How they stand, by test set and label.
        reference: Label of the row whose gain over bicubic chooses the faces.
        measurements: Loads the networks.
        faces: How many faces of a test set at most.
        budget: Bytes that all pictures together may take; one face of the first test set is shown whatever it takes.
    """
    chosen = _choose(rows, standings, reference, measurements, faces, budget)
    serving, device = measurements.serving, measurements.device
    raws = {
        name: gather(store, store.indices(serving.split)[chosen[name]], device)
        for name, store in measurements.stores.items()
        if chosen[name]
    }
    views: dict[str, list[list[View]]] = {name: [[] for _ in chosen[name]] for name in raws}
    for row in track([FLOOR, *rows], "Restoring faces for the page", transient=True):
        run = row.best if row.runs else None
        method = measurements.method(run, row.label) if run else bicubic_method(serving.scale)
        found = measurements.run(run, row.label) if run else measurements.floor()
        for name, raw in raws.items():
            pictures = _restored(method, raw, measurements)
            for place, face in enumerate(chosen[name]):
                view = View(row.label, float(found[name].psnr[face]), to_uri(pictures[place : place + 1]))
                views[name][place].append(view)
    faces_of = {}
    for name, raw in raws.items():
        batch = serve(raw, serving, bicubic_method(serving.scale))
        ends = [
            [View(title, None, to_uri(each[None])) for each in pictures]
            for title, pictures in ((LR, batch["lr"]), (HR, batch["hr"]))
        ]
        names, ranks = standings[name][BICUBIC].faces.names, percentiles(len(chosen[name]))
        faces_of[name] = [
            Face(names[face], ranks[place], (ends[0][place], *views[name][place], ends[1][place]))
            for place, face in enumerate(chosen[name])
        ]
    return faces_of


def _choose(
    rows: Sequence[Row],
    standings: Mapping[str, Mapping[str, Standing]],
    reference: str,
    measurements: Measurements,
    faces: int,
    budget: int,
) -> dict[str, list[int]]:
    """Returns the places of the faces in each test set's split; none of the sets that are beyond the budget."""
    stores, split = measurements.stores, measurements.serving.split
    first = next(iter(stores.values()))
    hr = torch.from_numpy(first.hr[first.indices(split)[:1]]).permute(0, 3, 1, 2) / 255
    size = len(to_uri(hr)) * (len(rows) + 2)  # restored faces are smoother than the true one, and take less
    count = max(1, min(faces, budget // (size * len(stores))))
    chosen = {}
    for place, (name, each) in enumerate(standings.items()):
        fits = place == 0 or size * count * (place + 1) <= budget
        gain = each[reference].faces.psnr - each[BICUBIC].faces.psnr
        chosen[name] = choose_faces(gain, count) if fits else []
    return chosen


@torch.inference_mode()
def _restored(method: Method, raw: Mapping[str, torch.Tensor], measurements: Measurements) -> torch.Tensor:
    return method.restore(serve(raw, measurements.serving, method))


def to_uri(picture: torch.Tensor) -> str:
    """Returns a picture (1, 3, H, W) in [0, 1] as the data URI of a PNG: what was measured, to the last bit."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(to_pixels({HR: picture})[0, :, 0])).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
