"""The verb `report`: all finished runs below a folder, compared under one protocol.

pkdn report runs=runs
pkdn report runs=runs data.test_stores.celeba=stores/celeba data.test_stores.helen=stores/helen

It reads run folders and test stores, and writes the paper's tables and figure with what was measured beside what was
published. Each part does one thing and can be used without the others:

rows          run folders -> rows: runs that differ in their seed only
measurements  rows -> values per image, and speeds; kept beside the runs
statistics    numbers -> intervals and tests
comparison    values per image -> how the rows stand on every test set
table1, ...   how they stand -> tables, which `tables` turns into Markdown, LaTeX and CSV
figure        rows -> Figure 4
lambdas, effects, curves, faces    rows -> what the page shows besides
page          all of it -> report.html
builder       all of it in turn
"""

from typing import TYPE_CHECKING, Any

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.report.builder import Report


def report(cfg: "DictConfig") -> "Report":
    """Measures what is not measured yet and writes the report.

    Args:
        cfg: A configuration as `compose("report", ["runs=<folder>", ...])` returns it.

    Returns:
        The folder with `report.html`, `report.md`, tables, figure and `per_image.csv`, and what they show.

    Raises:
        PKDNError: If there is nothing to report, or runs and stores do not fit together; the message says what to do.
    """
    from pkdn_lightning.report.builder import run_report

    return run_report(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("report", _task)


def _task(cfg: "DictConfig") -> Any:
    report(cfg)
