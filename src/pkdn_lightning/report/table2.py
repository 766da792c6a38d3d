"""Table 2: what parsing map fusion (PFB) and feature fusion (FFB) in the teacher are worth to the student."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pkdn_lightning.config import data_and_size
from pkdn_lightning.report.comparison import RowScores, compare
from pkdn_lightning.report.measurements import Faces
from pkdn_lightning.report.methods import BLOCKS, STUDENT, TEACHER, is_ablation
from pkdn_lightning.report.published_values import SCALE, TABLE_2, dataset_of
from pkdn_lightning.report.rows import Row, Run
from pkdn_lightning.report.table1 import Subject, gain_cells, plus_minus
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, places

VARIANTS: Final = {
    (False, False): "without PFB and FFB",
    (True, False): "PFB",
    (True, True): "PFB and FFB (PKDN)",
    (False, True): "FFB alone",
}
"""The teachers of the ablation, by whether they have PFB and FFB."""

# What belongs to one run and not to its settings, or is what the ablation changes.
_OWN: Final = ("run_dir", "resume", "seed", "teacher.checkpoint", "teacher.model.pfb", "teacher.model.ffb", "tags")


class Line(NamedTuple):
    """A line of the ablation.

    Attributes:
        variant: Whether the teacher has PFB and FFB.
        student: The row that learned from such a teacher, or None if there is none.
        teacher: The row of that teacher, or None if it is not among the reported runs.
        full: The row of the same settings whose teacher has both, or None.
    """

    variant: tuple[bool, bool]
    student: Row | None
    teacher: Row | None
    full: Row | None


def ablation(rows: Sequence[Row]) -> list[Line]:
    """Returns the lines of Table 2: every variant at least once, more often where it was run with several settings."""
    lines = []
    for variant in VARIANTS:
        students = [row for row in rows if _is_student(row) and _variant(row) == variant]
        teachers = [row for row in rows if _is_teacher(row) and _variant(row) == variant]
        found = [Line(variant, row, _teacher_of(row, teachers), _full(row, rows)) for row in students]
        taken = {id(line.teacher) for line in found}
        found += [Line(variant, None, row, None) for row in teachers if id(row) not in taken]
        lines += found or [Line(variant, None, None, None)]
    return lines


def ablation_table(subject: Subject, test_set: str, gains: Mapping[str, RowScores]) -> Table:
    """Returns Table 2 on a test set.

    Args:
        subject: What the report is about.
        test_set: Name of the test set.
        gains: How students stand against the full variant of the same settings, by label; see `against_full`.
    """
    lines, scores = ablation(subject.rows), subject.scores[test_set]
    published = TABLE_2 if subject.scale == SCALE and dataset_of(test_set) == "celeba" else {}
    best = places([scores[line.student.label].psnr.mean if line.student else None for line in lines])
    several = len({line.student.label for line in lines if line.student}) > len(
        {line.variant for line in lines if line.student}
    )
    rows = []
    for line, place in zip(lines, best, strict=True):
        score = published.get(line.variant)
        name = VARIANTS[line.variant]
        rows.append(
            [
                Cell(f"{name}: {line.student.label}" if several and line.student else name),
                *(Cell("✓" if has else NONE) for has in line.variant),
                Cell(f"{score.psnr:.2f} / {score.ssim:.4f}" if score else NONE),
                Cell(_score(scores, line.student), place),
                Cell(str(len(line.student.runs)) if line.student else NONE),
                *(
                    gain_cells(gains[line.student.label].psnr_gain)
                    if line.student and line.student.label in gains
                    else [Cell(NONE)] * 3
                ),
                Cell(_score(scores, line.teacher, "not among the runs" if line.student else "not run")),
                Cell(str(len(line.teacher.runs)) if line.teacher else NONE),
            ]
        )
    return Table(
        f"Table 2, {test_set}: what the teacher's parsing map fusion (PFB) and feature fusion (FFB) are worth to the "
        f"student. x{subject.scale}; {subject.protocol}",
        ["Teacher", "PFB", "FFB", "Published, student", "Student, PSNR / SSIM", "Seeds", "Δ PSNR to PFB and FFB",
         "95 %", "p (Holm)", "Teacher, PSNR / SSIM", "Seeds"],
        [Section(rows)],
        [
            "The student is the same in every row. Its teacher, which sees the parsing map of the true face, has PFB "
            "and FFB or not. The paper calls its second row 'without PFB', but its text and check marks say that the "
            "teacher has PFB and no FFB; FFB alone is not in the paper.",
            "Δ: face by face against the student of the same settings whose teacher has both.",
        ],
        commands(subject.rows, lines),
    )  # fmt: skip


def against_full(
    rows: Sequence[Row], measured: Mapping[str, Mapping[str, Sequence[Faces]]], test_set: str, *, seed: int
) -> dict[str, RowScores]:
    """Returns how students stand against the one whose teacher has both blocks, within equal settings."""
    lines = [line for line in ablation(rows) if line.student and line.full]
    found: dict[str, RowScores] = {}
    for full in {line.full.label for line in lines if line.full}:
        family = [line.student.label for line in lines if line.student and line.full and line.full.label == full]
        found |= compare({label: measured[label] for label in family}, full, test_set, seed=seed)
    return found


def table2_records(subject: Subject, gains: Mapping[str, Mapping[str, RowScores]]) -> list[dict[str, Any]]:
    """Returns everything in Table 2 as numbers, a record per test set and line."""
    records = []
    for test_set, scores in subject.scores.items():
        for line in ablation(subject.rows):
            record: dict[str, Any] = {"test_set": test_set, "pfb": line.variant[0], "ffb": line.variant[1]}
            score = TABLE_2.get(line.variant) if subject.scale == SCALE and dataset_of(test_set) == "celeba" else None
            record |= {"published_psnr": score.psnr if score else "", "published_ssim": score.ssim if score else ""}
            for who, row in (("student", line.student), ("teacher", line.teacher)):
                record |= {who: row.label if row else "not run", f"{who}_seeds": len(row.runs) if row else 0}
                for key in ("psnr", "ssim"):
                    mean = getattr(scores[row.label], key) if row else None
                    record |= {f"{who}_{key}": mean.mean if mean else "", f"{who}_{key}_std": mean.std if mean else ""}
            gain = gains[test_set][line.student.label].psnr_gain if line.student and line.full else None
            for name in ("mean", "low", "high", "p", "p_holm"):
                record[f"psnr_gain_{name}"] = getattr(gain, name) if gain else ""
            records.append(record)
    return records


def commands(rows: Sequence[Row], lines: Sequence[Line]) -> list[str]:
    """Returns the command lines that run what the ablation lacks: those of the full PKDN, with other teachers."""
    known = [row for row in rows if _is_student(row)]
    known.sort(key=lambda row: _variant(row) != (True, True))
    base = base_command(known[0].best) if known else ["pkdn", "train", "experiment=student_celeba"]
    return [
        shlex.join(
            [
                *base,
                *(f"teacher.model.{name}=false" for name, has in zip(BLOCKS, line.variant, strict=True) if not has),
            ]
        )
        for line in lines
        if line.student is None
    ]


def base_command(run: Run, dropped: Sequence[str] = ()) -> list[str]:
    """Returns the command that began a run, in words, without what belongs to that run alone.

    Args:
        run: The run.
        dropped: Further keys that are left out, because the new run sets them itself.
    """
    words = shlex.split(str(run.results.get("command", "")))
    if words[:2] == ["pkdn", "train"] and any(word.startswith("experiment=") for word in words):
        return [word for word in words if word.lstrip("+").partition("=")[0] not in (*_OWN, *dropped)]
    # Started from Python: the method, data and size are all that is known of how it was composed.
    return ["pkdn", "train", f"experiment={run.config['method']}", *data_and_size(run.config)]


def _is_student(row: Row) -> bool:
    return row.method == STUDENT or is_ablation(row.method)


def _is_teacher(row: Row) -> bool:
    return row.method.startswith(TEACHER)


def _variant(row: Row) -> tuple[bool, bool]:
    """Returns whether the teacher that a row is, or learned from, has PFB and FFB."""
    prefix = "model" if _is_teacher(row) else "teacher"
    pfb, ffb = (row.settings.get(f"{prefix}.{option}") is True for option in BLOCKS)
    return pfb, ffb


def _teacher_of(student: Row, teachers: Sequence[Row]) -> Row | None:
    folders: set[Path | None] = {run.teacher.folder for run in student.runs if run.teacher}
    return next((row for row in teachers if any(run.folder.path in folders for run in row.runs)), None)


def _full(student: Row, rows: Sequence[Row]) -> Row | None:
    """Returns the row that differs from a student in its teacher's PFB and FFB only, and has both."""

    def family(row: Row) -> dict[str, Any]:
        blocks = [f"teacher.{option}" for option in BLOCKS]
        return {key: value for key, value in row.settings.items() if key not in blocks}

    full = (row for row in rows if row.method == STUDENT)
    return next((row for row in full if family(row) == family(student)), None)


def _score(scores: Mapping[str, RowScores], row: Row | None, otherwise: str = "not run") -> str:
    if row is None:
        return otherwise
    return f"{plus_minus(scores[row.label].psnr, 2)} / {plus_minus(scores[row.label].ssim, 4)}"
