"""The verb `report`: all finished runs below a folder, compared under one protocol.

pkdn report runs=runs
pkdn report runs=runs data.test_stores.celeba=stores/celeba data.test_stores.helen=stores/helen

It reads run folders and test stores, and writes the paper's tables and figure, measured values beside published ones:

run_config       the configuration of a run, checked
idle             keys of a configuration that nothing reads
settings         the other ones, which tell trainings apart, in labels, too
run, sources     run folders -> runs, and the trained networks that they learned from or began with
groups           runs -> those of equal settings and sources
rows             groups -> rows: runs that differ in their seed only
tasks            rows -> those of each degradation and scale, which share no table, and all of them side by side
measurements     rows -> values per image, and speeds; kept beside the runs
scores           values per image -> how the rows compare on every test set, by `statistics`
table1, table2   scores -> tables, which `tables` turns into Markdown, LaTeX and CSV
faces            rows -> the same faces restored by all, Figure 4
atlas            published values, scores -> both beside each other
lambdas, effects, curves    rows -> what the page shows besides
page             everything -> report.html
builder          everything in turn
"""

from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.report.contents import Report, TaskReports


def report(cfg: "DictConfig") -> "Report | TaskReports":
    """Measures what is not measured yet and writes the report.

    Args:
        cfg: A configuration as `compose("report", ["runs=<folder>", ...])` returns it.

    Returns:
        The folder with `report.html`, `report.md`, tables, figure and `per_image.csv`, and what they show. If the runs
        were trained for several degradations or scales, a report for each in a folder of its own, and their overview.

    Raises:
        PKDNError: If there is nothing to report, or runs and stores do not fit together; the message says what to do.
    """
    from pkdn_lightning.report.builder import run_report

    return run_report(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("report", report)
