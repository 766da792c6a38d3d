"""Runs of several tasks: networks trained for other degradations or scales read other faces, and share no table.

Each task has a report of its own. The overview shows the same rows side by side: what the teacher, and learning from
it, are worth under each degradation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.figure import Figure

from pkdn_lightning.evaluate.measure import InputSpec
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, RowScores, Subject, to_record
from pkdn_lightning.report.settings import labels
from pkdn_lightning.report.table1 import plus_minus, signed
from pkdn_lightning.report.tables import Cell, Section, Table

_DPI: Final = 110
_WORDS: Final = {"pil": "bicubic"}
_ORDER: Final = ("pil", "matlab", "blind", "blind2")


class Task(NamedTuple):
    """What some rows were trained for: the faces that they read."""

    name: str  # of its folder, e.g. `blind` or `bicubic_x4`
    spec: InputSpec
    rows: tuple[Row, ...]


def tasks_of(rows: Sequence[Row], batch_size: int) -> list[Task]:
    """Returns the tasks of rows; each row is labelled by what tells it from the others of its task."""
    found: list[tuple[InputSpec, list[Row]]] = []
    for row in rows:
        spec = InputSpec.of(row.runs[0].config["data"], "test", batch_size)
        known = next((own for each, own in found if each == spec), None)
        if known is None:
            found.append((spec, known := []))
        known.append(row)
    found.sort(key=lambda each: (each[0].scale, *_place(each[0].degradation), repr(each[0].blind)))
    scales = len({spec.scale for spec, _ in found}) > 1
    tasks, names = [], list[str]()
    for spec, own in found:
        name = _WORDS.get(spec.degradation, spec.degradation) + (f"_x{spec.scale}" if scales else "")
        names.append(name)
        name += f"_{names.count(name)}" if names.count(name) > 1 else ""  # the same degradation in other strengths
        told = labels([(row.method, row.settings) for row in own])
        tasks.append(Task(name, spec, tuple(replace(row, label=label) for row, label in zip(own, told, strict=True))))
    return tasks


Compared = Mapping[str, Mapping[str, RowScores]]
"""Scores by task and label; what a row gains is the difference from its task's network without a teacher."""


def compare_tasks(subjects: Mapping[str, Subject], test_set: str) -> Compared:
    """Returns the scores of each task's rows on a test set, bicubic interpolation first."""
    found = {}
    for name, subject in subjects.items():
        reference, rows = _untaught(subject), (BASELINE, *subject.rows)
        scores = subject.against(reference, (row for row in rows if row.label != reference.label), test_set)
        found[name] = {row.label: scores[row.label] for row in rows}
    return found


def task_table(compared: Compared, test_set: str) -> Table:
    """Returns the overview of a test set: PSNR of each row in each task, and its gain over the untaught network."""
    lines = []
    for label in _labels(compared):
        cells = [Cell(label)]
        for scores in compared.values():
            score = scores.get(label)
            gain = score.psnr_gain if score else None
            cells.append(Cell(plus_minus(score.psnr, 2)) if score else Cell())
            cells.append(Cell(f"{signed(gain.mean)} ({' to '.join(map(signed, gain.interval))})") if gain else Cell())
        lines.append(cells)
    references = sorted({label for scores in compared.values() for label, each in scores.items() if not each.psnr_gain})
    columns = [column for name in compared for column in (f"{name}: PSNR (dB)", "Gain, 95 %")]
    return Table(
        f"Tasks, {test_set}: each row trained and measured in each task",
        ["Method", *columns],
        [Section(lines)],
        [
            f"Gain: PSNR minus that of {' or '.join(references)}, face by face, in dB; interval over seeds and faces "
            "where both rows have two seeds or more, else over faces."
        ],
    )


def task_records(compared: Mapping[str, Compared]) -> list[dict[str, Any]]:
    """Returns the overviews of test sets as numbers, a record per test set, task and row."""
    return [
        {"test_set": test_set, "task": name, "method": label, "seeds": score.seeds}
        | to_record("psnr", score.psnr) | to_record("psnr_gain", score.psnr_gain)
        for test_set, tasks in compared.items()
        for name, scores in tasks.items()
        for label, score in scores.items()
    ]  # fmt: skip


def draw_tasks(compared: Mapping[str, Compared], file: Path) -> bool:
    """Draws the gains over the untaught network, one panel per test set, into a PNG file; False if there are none."""
    figure = Figure(figsize=(3.2 * len(compared) + 1.8, 3.4), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, len(compared), squeeze=False, sharey=True)[0]
    for panel, (test_set, tasks) in zip(panels, compared.items(), strict=True):
        gaining = {label for scores in tasks.values() for label, score in scores.items() if score.psnr_gain}
        shown = [label for label in _labels(tasks) if label in gaining and label != BASELINE.label]
        for number, label in enumerate(shown):
            gains = {name: scores[label].psnr_gain for name, scores in tasks.items() if label in scores}
            known = {place: gain for place, name in enumerate(tasks) if (gain := gains.get(name))}
            places = [place + 0.12 * (number - (len(shown) - 1) / 2) for place in known]
            means = [gain.mean for gain in known.values()]
            ends = [[abs(gain.interval[end] - gain.mean) for gain in known.values()] for end in (0, 1)]
            panel.errorbar(places, means, ends, fmt="o", capsize=3, label=label)
        panel.axhline(0, color="0.5", linewidth=0.8)
        panel.set_xticks(range(len(tasks)), tasks)
        panel.set_title(test_set)
        panel.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("gain over the untaught network (dB)")
    if not panels[-1].get_legend_handles_labels()[0]:  # no rows besides the untaught network
        file.unlink(missing_ok=True)
        return False
    panels[-1].legend(fontsize="small")
    figure.savefig(file)
    return True


def _labels(compared: Compared) -> list[str]:
    return list(dict.fromkeys(label for scores in compared.values() for label in scores))


def _place(degradation: str) -> tuple[int, str]:
    return (_ORDER.index(degradation) if degradation in _ORDER else len(_ORDER)), degradation


def _untaught(subject: Subject) -> Row:
    """Returns the row that the others are compared with: the reference's network, trained without a teacher."""
    reference = next(row for row in subject.rows if row.label == subject.reference)
    network = reference.settings.get("model._target_")
    plain = (row for row in subject.rows if not row.distilled and row.settings.get("model._target_") == network)
    return next(plain, reference)
