"""The plot of the page: everything into templates/page.html.j2, and that into one file."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pkdn_lightning.report.curves import VALIDATION, read_curves, validation_floor
from pkdn_lightning.report.faces import Face, restore_faces
from pkdn_lightning.report.lambdas import lambda_grids
from pkdn_lightning.report.measurements import Faces, Measurements
from pkdn_lightning.report.page.leaderboard import finding, leaderboard
from pkdn_lightning.report.page.not_run import missing
from pkdn_lightning.report.page.panels import choose_colours, cost_plots, forests, heat_map, loss_plots
from pkdn_lightning.report.page.plots import validation_plot
from pkdn_lightning.report.rows import LeftOut
from pkdn_lightning.report.statistics import PAIRED_TEST
from pkdn_lightning.report.table1 import Subject
from pkdn_lightning.report.tables import Table


def write_page(
    file: Path,
    subject: Subject,
    measured: Mapping[str, Mapping[str, Sequence[Faces]]],
    measurements: Measurements,
    *,
    table2: Sequence[Table],
    costs: Table,
    runs: Table,
    left_out: Sequence[LeftOut],
    command: str,
    faces: int,
    seed: int,
) -> Path:
    """Writes the page and returns where it is.

    Args:
        file: Where it goes.
        subject: What the report is about.
        measured: Values by label and test set, one entry per seed.
        measurements: Loads the networks and the test faces.
        table2: The ablation, a table per test set.
        costs: What the methods cost, and what they were taught with.
        runs: The runs behind the rows.
        left_out: The runs that are in no row, and why.
        command: The command line that made the report.
        faces: How many faces of a test set are shown at most.
        seed: Of the resampling.
    """
    shown = restore_faces(subject.rows, measured, subject.scores, subject.reference, measurements, faces=faces)
    colours = choose_colours(subject.rows, subject.reference, next(iter(subject.scores.values())))
    grids = lambda_grids(subject.rows)
    effects = forests(subject, measured, seed=seed)
    sets = [
        {
            "name": name,
            "faces": len(next(iter(scores.values())).faces.names),
            "finding": finding(subject, name),
            "board": leaderboard(subject, name, colours),
            "heat": [heat_map(grid, scores, subject.reference) for grid in grids],
            "forests": effects[name],
            "table2": table,
            "costs": cost_plots(subject, name, colours),
            "images": shown.get(name, []),
        }
        for (name, scores), table in zip(subject.scores.items(), table2, strict=True)
    ]
    text = render(
        subject=subject,
        sets=sets,
        colours=colours,
        costs=costs,
        runs=runs,
        count=sum(len(row.runs) for row in subject.rows),
        left_out=left_out,
        missing=missing(subject, grids, table2[0].commands),
        command=command,
        paired_test=PAIRED_TEST,
        images_note=_images_note(shown, subject, faces),
        **_curves(subject, measurements, colours),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def render(**content: Any) -> str:
    """Returns the page. Whatever is not markup already is escaped, and no script runs but the page's own."""
    loader = PackageLoader("pkdn_lightning.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = (Markup(loader.get_source(environment, name)[0]) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(style=style, script=script, digest=digest, **content)


def _curves(subject: Subject, measurements: Measurements, colours: Mapping[str, int]) -> dict[str, Any]:
    curves = {row.label: read_curves(row) for row in subject.rows if row.label in colours}
    losses, more_losses = loss_plots(curves, colours)
    floor = None
    if any(VALIDATION in logged for logged in curves.values()):
        floor = validation_floor(subject.rows, measurements.serving, measurements.device)
    return {
        "validation": validation_plot(curves, colours, floor),
        "floor": floor,
        "losses": losses,
        "more_losses": more_losses,
        "silent": [label for label, logged in curves.items() if not logged],
    }


def _images_note(shown: Mapping[str, Sequence[Face]], subject: Subject, asked: int) -> str:
    first = next(iter(shown.values()))
    percentiles = ", ".join(f"{face.percentile:g}" for face in first)
    note = (
        f"Chosen by rule, as in Figure 4: the faces at the percentiles {percentiles} of the PSNR gain of "
        f"{subject.reference} over bicubic. Of every row the run that validated best. Images are lossless."
    )
    available = min(asked, min(len(each["bicubic"].faces.names) for each in subject.scores.values()))
    if len(first) < available:
        note += f" {len(first)} of {asked} faces, so that the page stays small enough to send."
    absent = [name for name in subject.scores if not shown.get(name)]
    if absent:
        note += f" No faces of {', '.join(absent)} for the same reason."
    return note
