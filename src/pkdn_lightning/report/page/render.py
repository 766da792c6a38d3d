"""The page: everything into templates/page.html.j2, and that into one file."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pkdn_lightning.report.atlas import measured_entries
from pkdn_lightning.report.contents import Report
from pkdn_lightning.report.curves import VALIDATION, bicubic_validation, loss_terms, read_curves
from pkdn_lightning.report.faces import RestoredFaces, to_uri
from pkdn_lightning.report.lambdas import lambda_grids
from pkdn_lightning.report.measurements import Measurements
from pkdn_lightning.report.page.leaderboard import finding, leaderboard
from pkdn_lightning.report.page.not_run import not_run
from pkdn_lightning.report.page.panels import choose_colours, cost_plots, forests, heat_map
from pkdn_lightning.report.page.plots import loss_plot, published_plot, validation_plot
from pkdn_lightning.report.scores import BASELINE, Subject


def render_page(report: Report, measurements: Measurements, shown: Mapping[str, RestoredFaces]) -> str:
    """Returns the page as HTML.

    Args:
        report: What it shows.
        measurements: How the faces were fed, and where bicubic is computed.
        shown: Restored faces by test set.
    """
    subject = report.subject
    colours = choose_colours(subject.rows, subject.reference, next(iter(subject.scores.values())))
    grids, effects = lambda_grids(subject.rows), forests(subject)
    sets = [
        {
            "name": test_set,
            "faces": len(scores[BASELINE.label].faces.names),
            "finding": finding(subject, test_set),
            "board": leaderboard(subject, test_set, report.table1[number].notes),
            "heat": [(grid, heat_map(grid, scores, subject.reference)) for grid in grids],
            "forests": effects[test_set],
            "atlas": report.atlas.get(test_set),
            "atlas_plot": published_plot(f"published{number}", measured_entries(subject, test_set), colours),
            "table2": report.table2[number],
            "costs": cost_plots(subject, test_set, colours),
            "shown": shown.get(test_set),
        }
        for number, (test_set, scores) in enumerate(subject.scores.items())
    ]
    return _render(
        report=report,
        subject=subject,
        sets=sets,
        colours=colours,
        not_run=not_run(subject, grids, report.table2[0].commands),
        images_note=_images_note(shown, report),
        **_curves(subject, measurements, colours),
    )


def _render(**content: Any) -> str:
    """Returns the page. Whatever is not markup already is escaped, and no script runs but the page's own."""
    loader = PackageLoader("pkdn_lightning.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["uri"] = to_uri
    style, script = (Markup(loader.get_source(environment, name)[0]) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(style=style, script=script, digest=digest, **content)


def _curves(subject: Subject, measurements: Measurements, colours: Mapping[str, int]) -> dict[str, Any]:
    curves = {row.label: read_curves(row) for row in subject.rows if row.label in colours}
    bicubic = None
    if any(VALIDATION in logged for logged in curves.values()):
        bicubic = bicubic_validation(subject.rows, measurements.spec, measurements.device)
    return {
        "validation": validation_plot(curves, colours, bicubic),
        "bicubic": bicubic,
        "losses": [(term, loss_plot(term, place, curves, colours)) for place, term in enumerate(loss_terms(curves))],
        "without_curves": [label for label, logged in curves.items() if not logged],
    }


def _images_note(shown: Mapping[str, RestoredFaces], report: Report) -> str:
    first = next(iter(shown.values()))
    percentiles = ", ".join(f"{each:g}" for each in first.percentiles)
    note = (
        f"Chosen by rule, as in Figure 4: the faces at the percentiles {percentiles} of the PSNR gain of "
        f"{report.subject.reference} over bicubic. Of every row the run that validated best. Images are lossless."
    )
    asked = len(report.figure.faces)
    if len(first.names) < asked:
        note += f" {len(first.names)} of {asked} faces, to keep the page small enough to send."
    absent = [test_set for test_set in report.subject.scores if test_set not in shown]
    return f"{note} No faces of {', '.join(absent)} for the same reason." if absent else note
