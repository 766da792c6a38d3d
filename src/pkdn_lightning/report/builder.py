"""A report from its configuration to its files: the plot of the verb `report`."""

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.evaluate.measure import BICUBIC, describe
from pkdn_lightning.hardware import choose_device, keep_freed_memory
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.report.comparison import choose_reference, compare
from pkdn_lightning.report.figure import Figure, draw_figure
from pkdn_lightning.report.measurements import Faces, Measurements, Speed, open_test_sets, serving_of, where
from pkdn_lightning.report.page.render import write_page
from pkdn_lightning.report.rows import Collected, LeftOut, Row, collect
from pkdn_lightning.report.table1 import Subject, cost_table, quality_table, table1_records
from pkdn_lightning.report.table2 import ablation_table, against_full, table2_records
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, to_csv, to_latex, to_markdown

PAGE: Final = "report.html"

_console = Console(soft_wrap=True)  # paths stay whole


class Report(NamedTuple):
    """What a report shows, and where it is.

    Attributes:
        folder: Where its files are; `report.html` shows all of them.
        subject: What its tables are about: rows, how they stand, speeds.
        table1: A table per test set, and the costs.
        table2: A table per test set.
        figure: Figure 4.
        runs: The runs behind the rows.
        left_out: The runs that are in no row, and why.
    """

    folder: Path
    subject: Subject
    table1: tuple[Table, ...]
    table2: tuple[Table, ...]
    figure: Figure
    runs: Table
    left_out: tuple[LeftOut, ...]


def run_report(cfg: DictConfig) -> Report:
    """Reports what `cfg` names; see `report.report`."""
    if cfg.faces < 1:
        raise ConfigError(f"faces={cfg.faces}: a figure shows at least one face. Set faces=5.")
    keep_freed_memory()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    device = choose_device(cfg.accelerator)
    collected = collect(cfg.runs)
    serving = serving_of(collected.rows, cfg.data.eval_batch_size)
    stores = open_test_sets(dict(cfg.data.test_stores), collected.rows, verify=cfg.data.verify)
    folder = Path(cfg.out or Path(cfg.runs) / "report")
    measurements = Measurements(serving, stores, device, folder)

    measured = _measure_all(collected.rows, measurements)
    reference = choose_reference(collected.rows, measured).label
    scores = {name: compare(measured, reference, name, seed=cfg.seed) for name in stores}
    subject = Subject(
        collected.rows,
        scores,
        reference,
        _speeds(collected.rows, measurements),
        serving.scale,
        f"Protocol {describe(HEADLINE.name)}",
        _training_data(collected.rows),
        "{device}, CPU threads: {threads}".format(**where(device)),
    )
    gains = {name: against_full(collected.rows, measured, name, seed=cfg.seed) for name in stores}
    first = next(iter(stores))
    figure = draw_figure(
        collected.rows,
        scores[first],
        reference,
        (first, stores[first]),
        measurements,
        faces=cfg.faces,
        file=folder / "figure4.png",
    )
    report = Report(
        folder,
        subject,
        (*(quality_table(subject, name) for name in stores), cost_table(subject)),
        tuple(ablation_table(subject, name, gains[name]) for name in stores),
        figure,
        runs_table(collected.rows),
        collected.left_out,
    )
    _write(report, measured, table2_records(subject, gains))
    write_page(
        folder / PAGE,
        subject,
        measured,
        measurements,
        table2=report.table2,
        costs=report.table1[-1],
        runs=report.runs,
        left_out=report.left_out,
        command=made_by(),
        faces=cfg.faces,
        seed=cfg.seed,
    )
    _announce(report, collected)
    return report


def runs_table(rows: Sequence[Row]) -> Table:
    """Returns the runs behind the rows."""
    lines = []
    for row in rows:
        for run in row.runs:
            git = run.results.get("git") or {}
            commit = f"{str(git['commit'])[:8]}{' with changes' if git.get('modified') else ''}" if git else NONE
            lines.append(
                [
                    Cell(row.label),
                    Cell(str(run.seed)),
                    Cell(f"{run.results['steps']:,}"),
                    Cell(f"{run.validation:.2f}" if math.isfinite(run.validation) else NONE),
                    Cell(f"{run.checkpoint.name} {run.sha256[:8]}"),
                    Cell(commit),
                    Cell(str(run.folder.path)),
                ]
            )
    columns = ["Row", "Seed", "Steps", "Validation PSNR (dB)", "Checkpoint", "Commit", "Folder"]
    return Table("The runs behind the rows", columns, [Section(lines)])


def to_page(report: Report) -> str:
    """Returns the report as one Markdown page."""
    subject = report.subject
    sections = [
        f"# x{subject.scale} face super-resolution: PKDN and the methods it is compared with",
        f"Trained on {subject.data}; {subject.budget}. Every run's best checkpoint by validation, measured alike: "
        f"{subject.protocol}.",
        "## Table 1",
        *map(to_markdown, report.table1),
        "## Table 2",
        *map(to_markdown, report.table2),
        "## Figure 4",
        f"![Figure 4]({report.figure.file.name})",
        report.figure.caption,
        "## Runs",
        to_markdown(report.runs),
    ]
    if report.left_out:
        sections += ["Not in the tables:", "\n".join(f"- `{run.path}`: {run.reason}" for run in report.left_out)]
    sections += ["Values per image and run: `per_image.csv`. Made by:", f"```bash\n{made_by()}\n```"]
    return "\n\n".join(section.rstrip() for section in sections) + "\n"


def made_by() -> str:
    """Returns the command line that makes the report."""
    return shlex.join(["pkdn", "report", *sys.argv[1:]])


def _measure_all(rows: Sequence[Row], measurements: Measurements) -> dict[str, dict[str, list[Faces]]]:
    """Returns values by label and test set, one entry per seed."""
    measured = {BICUBIC: {name: [faces] for name, faces in measurements.floor().items()}}
    total, number = sum(len(row.runs) for row in rows), 0
    for row in rows:
        measured[row.label] = {name: [] for name in measurements.stores}
        for run in row.runs:
            number += 1
            found = measurements.run(run, escape(f"{number} of {total}: {row.label}, seed {run.seed},"))
            for name, faces in found.items():
                measured[row.label][name].append(faces)
    return measured


def _speeds(rows: Sequence[Row], measurements: Measurements) -> dict[str, Speed]:
    speeds = {}
    with _console.status("Speeds") as status:
        for row in rows:
            status.update(escape(f"Speed of {row.label}"))
            speeds[row.label] = measurements.speed(row.runs[0])
    return speeds


def _training_data(rows: Sequence[Row]) -> str:
    """Returns what was trained on, in words; how many faces, where the store is still there."""
    found: dict[str, str] = {}
    for run in (run for row in rows for run in row.runs):
        data = run.results["data"]
        if found.get(data["sha256"], "").endswith(")"):
            continue
        found[data["sha256"]] = str(data["name"])
        try:
            store = FaceStore.open(run.config["data"]["store"], verify=False)
        except (DataError, OSError):
            continue
        if store.sha256 == data["sha256"]:
            found[data["sha256"]] = f"{data['name']} ({store.manifest['splits']['train']:,} faces)"
    return " or ".join(sorted(found.values()))


def _write(
    report: Report,
    measured: Mapping[str, Mapping[str, Sequence[Faces]]],
    ablation: Sequence[Mapping[str, Any]],
) -> None:
    per_image: list[dict[str, Any]] = []
    runs = {row.label: [(run.seed, str(run.folder.path)) for run in row.runs] for row in report.subject.rows}
    for label, sets in measured.items():
        for name, seeds in sets.items():
            for (seed, folder), faces in zip(runs.get(label, [("", "")]), seeds, strict=True):
                per_image += [
                    {
                        "test_set": name,
                        "method": label,
                        "seed": seed,
                        "run": folder,
                        "face": face,
                        "psnr_y": psnr,
                        "ssim_y": ssim,
                    }
                    for face, psnr, ssim in zip(faces.names, faces.psnr.tolist(), faces.ssim.tolist(), strict=True)
                ]
    files = {
        "report.md": to_page(report),
        "table1.md": "\n".join(map(to_markdown, report.table1)),
        "table1.csv": to_csv(table1_records(report.subject)),
        "table1.tex": _latex(report.table1, "table1"),
        "table2.md": "\n".join(map(to_markdown, report.table2)),
        "table2.csv": to_csv(ablation),
        "table2.tex": _latex(report.table2, "table2"),
        "per_image.csv": to_csv(per_image),
    }
    report.folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (report.folder / name).write_text(content, encoding="utf-8")


def _latex(tables: Sequence[Table], name: str) -> str:
    head = "% For a document that loads booktabs, graphicx and amssymb.\n"
    return head + "\n".join(to_latex(table, f"tab:{name}-{number}") for number, table in enumerate(tables, start=1))


def _announce(report: Report, collected: Collected) -> None:
    subject = report.subject
    _console.print(
        f"{len(subject.rows)} rows of {sum(len(row.runs) for row in subject.rows)} runs on "
        f"{', '.join(subject.scores)}; differences are against {escape(subject.reference)}."
    )
    for run in collected.left_out:
        _console.print(f"Not in the tables: {escape(str(run.path))}: {escape(run.reason)}")
    _console.print(f"Report: [bold]{escape(str(report.folder / 'report.md'))}[/]")
    _console.print(f"To open in a browser: [bold]{escape(str(report.folder / PAGE))}[/]")
