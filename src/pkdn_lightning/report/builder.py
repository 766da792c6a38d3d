"""A report from its configuration to its files: the steps of the verb `report`."""

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pkdn_lightning.console import console, progress
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.evaluate.measure import describe
from pkdn_lightning.files import write_text
from pkdn_lightning.hardware import set_up
from pkdn_lightning.markdown import code, code_block, plain
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.report.atlas import atlas_table
from pkdn_lightning.report.contents import Report, TaskReports
from pkdn_lightning.report.faces import draw_figure, page_faces, restore_faces
from pkdn_lightning.report.measurements import Faces, Measurements, describe_device, open_test_sets
from pkdn_lightning.report.page.render import render_page
from pkdn_lightning.report.rows import LeftOut, Row, collect
from pkdn_lightning.report.scores import BASELINE, Subject, choose_reference, compare, seeds_of
from pkdn_lightning.report.table1 import cost_table, quality_table, table1_records
from pkdn_lightning.report.table2 import ablation_table, table2_records
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, to_csv, to_latex, to_markdown
from pkdn_lightning.report.tasks import Task, compare_tasks, draw_tasks, task_records, task_table, tasks_of


def run_report(cfg: DictConfig) -> Report | TaskReports:
    """Makes the report that `cfg` describes; see `report.report`."""
    if cfg.faces < 1:
        raise ConfigError(f"faces={cfg.faces}: a figure shows at least one face. Set faces=5.")
    device = set_up(threads=cfg.threads, accelerator=cfg.accelerator)
    rows, left_out = collect(cfg.runs)
    tasks = tasks_of(rows, cfg.data.eval_batch_size)
    stores = open_test_sets(dict(cfg.data.test_stores), rows, verify=cfg.data.verify)
    folder = Path(cfg.out or Path(cfg.runs) / "report")

    def report_of(task: Task, folder: Path) -> Report:
        return _report(task, Measurements(task.spec, stores, device, folder), left_out, cfg)

    if len(tasks) == 1:
        return report_of(tasks[0], folder)
    found = TaskReports(folder, {task.name: report_of(task, folder / task.name) for task in tasks})
    _write_overview(found)
    return found


def _report(task: Task, measurements: Measurements, left_out: Sequence[LeftOut], cfg: DictConfig) -> Report:
    """Makes the report of one task."""
    folder, stores = measurements.folder, measurements.stores
    subject = _measure(task.rows, measurements, cfg.seed)
    restored = restore_faces(subject, measurements, cfg.faces)
    report = Report(
        folder,
        subject,
        (*(quality_table(subject, test_set) for test_set in stores), cost_table(subject)),
        {test_set: table for test_set in stores if (table := atlas_table(subject, test_set))},
        tuple(ablation_table(subject, test_set) for test_set in stores),
        draw_figure(subject, restored, folder / "figure4.png"),
        runs_table(task.rows),
        tuple(left_out),
        _command(),
    )
    _write(report)
    write_text(folder / "report.html", render_page(report, measurements, page_faces(restored)))
    _announce(report)
    return report


def _command() -> str:
    return shlex.join(["pkdn", "report", *sys.argv[1:]])


def _write_overview(found: TaskReports) -> None:
    """Writes what the reports of several tasks say together."""
    subjects = {name: report.subject for name, report in found.reports.items()}
    test_sets = next(iter(subjects.values())).scores
    compared = {test_set: compare_tasks(subjects, test_set) for test_set in test_sets}
    drawn = draw_tasks(compared, found.folder / "tasks.png")
    write_text(found.folder / "tasks.csv", to_csv(task_records(compared)))
    sections = [
        "# Runs of several tasks",
        "Networks trained for different degradations or scales read different faces. Each task has a report: "
        + ", ".join(f"[{name}]({name}/report.md)" for name in subjects) + ".",
        *(to_markdown(task_table(tasks, test_set)) for test_set, tasks in compared.items()),
        *(["![Gains by task](tasks.png)"] if drawn else []),
        "Numbers: `tasks.csv`. Made by:",
        code_block(_command()),
    ]  # fmt: skip
    file = found.folder / "report.md"
    write_text(file, "\n\n".join(section.rstrip() for section in sections) + "\n")
    console.print(f"{len(subjects)} tasks, side by side: {file}")


def runs_table(rows: Sequence[Row]) -> Table:
    """Returns the runs behind the rows."""
    lines = []
    for row in rows:
        for run in row.runs:
            git = run.results.get("git") or {}
            commit = f"{str(git['commit'])[:8]}{' with changes' if git.get('modified') else ''}" if git else NONE
            validation = f"{run.validation:.2f}" if math.isfinite(run.validation) else NONE
            checkpoint, path = f"{run.checkpoint.name} {run.sha256[:8]}", str(run.folder.path)
            texts = (row.label, str(run.seed), f"{run.results['steps']:,}", validation, checkpoint, commit, path)
            lines.append([Cell(text) for text in texts])
    columns = ["Row", "Seed", "Steps", "Validation PSNR (dB)", "Checkpoint", "Commit", "Folder"]
    return Table("The runs behind the rows", columns, [Section(lines)])


def to_page(report: Report) -> str:
    """Returns the report as one Markdown page."""
    subject = report.subject
    sections = [
        f"# x{subject.scale} face super-resolution: PKDN and the methods it is compared with",
        f"Trained on {plain(subject.data)}; {plain(subject.budget)}. Measured: {subject.checkpoints}. "
        f"{plain(subject.protocol)}.",
        "## Table 1",
        *map(to_markdown, report.table1),
        *(["## Published values", *map(to_markdown, report.atlas.values())] if report.atlas else []),
        "## Table 2",
        *map(to_markdown, report.table2),
        "## Figure 4",
        f"![Figure 4]({report.figure.file.name})",
        plain(report.figure.caption),
        "## Runs",
        to_markdown(report.runs),
    ]
    if report.left_out:
        sections += [
            "Not in the tables:",
            "\n".join(f"- {code(run.path)}: {plain(run.reason)}" for run in report.left_out),
        ]
    sections += ["Values per image and run: `per_image.csv`. Made by:", code_block(report.command)]
    return "\n\n".join(section.rstrip() for section in sections) + "\n"


def _measure(rows: Sequence[Row], measurements: Measurements, seed: int) -> Subject:
    """Returns the rows with everything that is measured of them."""
    jobs = [(row, run) for row in (BASELINE, *rows) for run in row.runs or (None,)]
    measured: dict[str, dict[str, list[Faces]]] = {}
    for number, (row, run) in enumerate(jobs, start=1):
        title = f"{number} of {len(jobs)}: {row.label}{f', seed {run.seed}' if run else ''}"
        for name, faces in measurements.values(run, title).items():
            measured.setdefault(row.label, {}).setdefault(name, []).append(faces)
    reference, seeds = choose_reference(rows, measured).label, seeds_of((BASELINE, *rows))
    return Subject(
        rows=rows,
        measured=measured,
        scores={name: compare(measured, reference, name, seeds, seed=seed) for name in measurements.stores},
        reference=reference,
        speeds={row.label: measurements.speed(row.runs[0]) for row in progress(rows, "Timing", len(rows))},
        scale=measurements.spec.scale,
        protocol=f"Protocol {describe(HEADLINE.name)}",
        data=_training_data(rows),
        device="{device}, CPU threads: {threads}".format(**describe_device(measurements.device)),
        seed=seed,
    )


def _training_data(rows: Sequence[Row]) -> str:
    """Returns what was trained on, in words; with the number of faces, where the store is still there."""
    found: dict[str, str] = {}
    for run in (run for row in rows for run in row.runs):
        data = run.results["data"]
        if not found.get(data["sha256"], "").endswith(")"):
            store = run.open_store()
            count = f" ({store.manifest['splits']['train']:,} faces)" if store else ""
            found[data["sha256"]] = f"{data['name']}{count}"
    return " or ".join(sorted(found.values()))


def _write(report: Report) -> None:
    files = {
        "report.md": to_page(report),
        "table1.md": "\n".join(map(to_markdown, report.table1)),
        "table1.csv": to_csv(table1_records(report.subject)),
        "table1.tex": _latex(report.table1, "table1"),
        "table2.md": "\n".join(map(to_markdown, report.table2)),
        "table2.csv": to_csv(table2_records(report.subject)),
        "table2.tex": _latex(report.table2, "table2"),
        "per_image.csv": to_csv(list(_per_image(report.subject))),
    }
    for name, content in files.items():
        write_text(report.folder / name, content)


def _per_image(subject: Subject) -> Iterator[dict[str, Any]]:
    runs = {row.label: [(run.seed, str(run.folder.path)) for run in row.runs] for row in subject.rows}
    for label, sets in subject.measured.items():
        for test_set, seeds in sets.items():
            for (seed, folder), faces in zip(runs.get(label, [("", "")]), seeds, strict=True):
                run = {"test_set": test_set, "method": label, "seed": seed, "run": folder}
                for face, psnr, ssim in zip(faces.names, faces.psnr.tolist(), faces.ssim.tolist(), strict=True):
                    yield run | {"face": face, "psnr_y": psnr, "ssim_y": ssim}


def _latex(tables: Sequence[Table], name: str) -> str:
    head = "% For a document that loads booktabs, graphicx and amssymb.\n"
    return head + "\n".join(to_latex(table, f"tab:{name}-{number}") for number, table in enumerate(tables, start=1))


def _announce(report: Report) -> None:
    subject = report.subject
    console.print(
        f"{len(subject.rows)} rows of {sum(len(row.runs) for row in subject.rows)} runs on "
        f"{', '.join(subject.scores)}; differences are against {subject.reference}."
    )
    for run in report.left_out:
        console.print(f"Not in the tables: {run.path}: {run.reason}")
    console.print(f"Report: {report.folder / 'report.md'}")
    console.print(f"To open in a browser: {report.folder / 'report.html'}")
