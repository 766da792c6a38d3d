"""Table 2: what parsing map fusion (PFB) and feature fusion (FFB) in the teacher are worth to the student."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pkdn_lightning.config import data_and_size
from pkdn_lightning.config.training_keys import flatten
from pkdn_lightning.report.methods import BLOCKS, STUDENT, TEACHER, is_ablation, parsing_maps
from pkdn_lightning.report.published_values import SCALE, TABLE_2, Score, dataset_of
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import RowScores, Subject, to_record
from pkdn_lightning.report.settings import OF_TEACHER, TEACHER_NAME
from pkdn_lightning.report.table1 import OVER_SEEDS, OVER_SEEDS_NOTE, gain_cells, plus_minus
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, places

VARIANTS: Final = {
    (False, False): "without PFB and FFB",
    (True, False): "PFB",
    (True, True): "PFB and FFB (PKDN)",
    (False, True): "FFB alone",
}
"""The teachers of the ablation, by whether they have PFB and FFB."""

_OWN: Final = ("run_dir", "resume", "seed", "tags")  # keys of a command that belong to one run, not to its settings
_VARIED: Final = ("teacher.checkpoint", *(f"teacher.model.{name}" for name in BLOCKS))  # those the ablation changes


class Line(NamedTuple):
    """A line of the ablation; what is not among the reported runs is None."""

    variant: tuple[bool, bool]  # whether the teacher has PFB and FFB
    student: Row | None = None  # the row that learned from such a teacher
    teacher: Row | None = None  # the row of that teacher
    full: Row | None = None  # the student of the same settings whose teacher has both


def ablation(rows: Sequence[Row]) -> list[Line]:
    """Returns the lines of Table 2: every variant at least once, more often where it was run with several settings.

    Students of a setting whose teacher was not varied, such as most of a sweep of λ, are not part of the ablation; if
    no teacher was varied, the student that validated best stands for all.
    """
    families: dict[str, list[Row]] = {}
    for row in rows:
        if _is_student(row):
            families.setdefault(_other_settings(row), []).append(row)
    varied = [family for family in families.values() if len({_variant(row) for row in family}) > 1]
    alone = sorted((row for family in families.values() for row in family), key=lambda row: -row.best.validation)[:1]
    shown = [row for family in varied for row in family] or alone
    lines = []
    for variant in VARIANTS:
        students = [row for row in rows if row in shown and _variant(row) == variant]
        teachers = [row for row in rows if _is_teacher(row) and _variant(row) == variant]
        found = [Line(variant, row, _teacher_of(row, teachers), _full(row, shown)) for row in students]
        best = sorted(teachers, key=lambda row: -row.best.validation)[:1]
        lines += found or [Line(variant, teacher=row) for row in best] or [Line(variant)]
    return lines


def ablation_table(subject: Subject, test_set: str) -> Table:
    """Returns Table 2 on a test set."""
    lines, scores, gains = ablation(subject.rows), subject.scores[test_set], against_full(subject, test_set)
    best = places([scores[line.student.label].psnr.mean if line.student else None for line in lines])
    students = [line for line in lines if line.student]
    several = len(students) > len({line.variant for line in students})
    rows = []
    for line, place in zip(lines, best, strict=True):
        paper, student, name = _published(subject, test_set, line), line.student, VARIANTS[line.variant]
        gain, p, over_seeds = gain_cells(gains[student.label].psnr_gain if student and student.label in gains else None)
        teacher = _score_cells(scores, line.teacher, "not among the runs" if student else "not run")
        rows.append(
            [
                Cell(f"{name}: {student.label}" if several and student else name),
                *(Cell("✓" if has else NONE) for has in line.variant),
                Cell(f"{paper.psnr:.2f} / {paper.ssim:.4f}" if paper else NONE),
                *_score_cells(scores, student, "not run", place),
                *(gain, Cell(gain.detail or NONE), over_seeds, p),
                *teacher,
            ]
        )
    return Table(
        f"Table 2, {test_set}: what the teacher's parsing map fusion (PFB) and feature fusion (FFB) are worth to the "
        f"student. x{subject.scale}; {subject.protocol}",
        ["Teacher", "PFB", "FFB", "Published, student", "Student, PSNR / SSIM", "Seeds", "Δ PSNR to PFB and FFB",
         "95 %", OVER_SEEDS, "p (Holm)", "Teacher, PSNR / SSIM", "Seeds"],
        [Section(rows)],
        [
            f"The student is the same in every row. Its teacher, which sees {_maps(lines)}, has PFB "
            "and FFB or not. The paper calls its second row 'without PFB', but its text and check marks say that the "
            "teacher has PFB and no FFB; FFB alone is not in the paper.",
            "Δ: face by face, over the seeds in common if there are any, against the student of the same settings "
            "whose teacher has both.",
            "A teacher's values are means over all its seeds in the report, also those that taught no student.",
            OVER_SEEDS_NOTE,
        ],
        commands(lines, subject.rows),
    )  # fmt: skip


def against_full(subject: Subject, test_set: str) -> dict[str, RowScores]:
    """Returns how students compare with the one whose teacher has both blocks, within equal settings."""
    families: dict[str, tuple[Row, list[Row]]] = {}
    for line in ablation(subject.rows):
        if line.student and line.full:
            families.setdefault(line.full.label, (line.full, []))[1].append(line.student)
    found: dict[str, RowScores] = {}
    for full, students in families.values():
        found |= subject.against(full, students, test_set)
    return found


def table2_records(subject: Subject) -> list[dict[str, Any]]:
    """Returns everything in Table 2 as numbers, a record per test set and line."""
    records = []
    for test_set, scores in subject.scores.items():
        gains = against_full(subject, test_set)
        for line in ablation(subject.rows):
            paper = _published(subject, test_set, line)
            record: dict[str, Any] = {"test_set": test_set, "pfb": line.variant[0], "ffb": line.variant[1]}
            record |= {"published_psnr": paper.psnr if paper else "", "published_ssim": paper.ssim if paper else ""}
            for who, row in (("student", line.student), ("teacher", line.teacher)):
                record |= {who: row.label if row else "not run", f"{who}_seeds": len(row.runs) if row else 0}
                if row:
                    score = scores[row.label]
                    record |= to_record(f"{who}_psnr", score.psnr) | to_record(f"{who}_ssim", score.ssim)
            gain = gains[line.student.label].psnr_gain if line.student and line.full else None
            records.append(record | to_record("psnr_gain", gain))
    return records


def commands(lines: Sequence[Line], others: Sequence[Row] = ()) -> list[str]:
    """Returns the command lines that run what the ablation lacks: those of the full PKDN, with other teachers.

    Args:
        lines: The ablation.
        others: The rows of the report. Without a student among the lines the commands have the data of one of these.
    """
    known = sorted((line.student for line in lines if line.student), key=lambda row: _variant(row) != (True, True))
    if known:
        base = base_command(known[0], _VARIED)
    else:
        data = next((data_and_size(row.best.config) for row in others if row.runs), ["data=celeba"])
        base = ["pkdn", "train", "experiment=student", *data]
    found = []
    for line in lines:
        if line.student is None:
            off = [f"teacher.model.{name}=false" for name, has in zip(BLOCKS, line.variant, strict=True) if not has]
            found.append(with_seeds([*base, *off], seeds(known[0]) if known else []))
    return found


def seeds(row: Row) -> list[int]:
    """Returns the seeds of a row."""
    return [run.seed for run in row.runs]


def with_seeds(words: Sequence[str], wanted: Sequence[int]) -> str:
    """Returns a command line that runs a training with some seeds, several as a sweep; as it is if there are none."""
    if not wanted:
        return shlex.join(words)
    sweep = ["-m"] if len(wanted) > 1 and not {"-m", "--multirun"} & set(words) else []
    return shlex.join([*words[:2], *sweep, *words[2:], f"seed={','.join(map(str, wanted))}"])


def base_command(row: Row, dropped: Sequence[str] = ()) -> list[str]:
    """Returns the command that started the best run of a row, in words, without what belongs to that run alone.

    Args:
        row: The row.
        dropped: Further keys that are left out, because the new run sets them itself.
    """
    run = row.best
    several = len({each.teacher.content for each in row.runs if each.teacher}) > 1
    left_out = (*_OWN, *dropped, *(["teacher.checkpoint"] if several else []))
    words = shlex.split(str(run.results.get("command", "")))
    if words[:2] == ["pkdn", "train"] and any(word.startswith("experiment=") for word in words):
        kept = [word for word in words if word.lstrip("+").partition("=")[0] not in left_out]
        own = f"teacher.seed={run.seed}"  # the other seeds have their own, too
        return ["teacher.seed=${seed}" if word == own else word for word in kept]
    # Started from Python: only method, data and size are known of how it was composed.
    return ["pkdn", "train", f"experiment={run.config['method']}", *data_and_size(run.config)]


def _is_student(row: Row) -> bool:
    return row.method == STUDENT or is_ablation(row.method)


def _is_teacher(row: Row) -> bool:
    return row.method.startswith(TEACHER)


def _variant(row: Row) -> tuple[bool, bool]:
    """Returns whether the teacher that a row is, or learned from, has PFB and FFB."""
    prefix = "model" if _is_teacher(row) else "teacher"
    pfb, ffb = (row.settings.get(f"{prefix}.{block}") is True for block in BLOCKS)
    return pfb, ffb


def _teacher_of(student: Row, teachers: Sequence[Row]) -> Row | None:
    folders = {run.teacher.folder for run in student.runs if run.teacher}
    return next((row for row in teachers if any(run.folder.path in folders for run in row.runs)), None)


def _other_settings(student: Row) -> str:
    """Returns the settings of a student but for its teacher's PFB and FFB, to compare.

    Arguments that only these blocks read count as they were given: the settings of a teacher without them lack these.
    """
    teacher = student.runs[0].teacher
    arguments = {f"{OF_TEACHER}.{key}": value for key, value in flatten(teacher.network if teacher else {})}
    varied = (TEACHER_NAME, *(f"{OF_TEACHER}.{name}" for name in BLOCKS))
    return repr(sorted(item for item in {**student.settings, **arguments}.items() if item[0] not in varied))


def _full(student: Row, rows: Sequence[Row]) -> Row | None:
    """Returns the student of equal settings whose teacher has both blocks.

    There are several where one seed learned from several teachers of equal settings: then the one that has most seeds
    in common with teachers of equal seeds, or else most seeds.
    """
    own, pairs = set(seeds(student)), _pairs(student)
    found = [row for row in rows if row.method == STUDENT and _other_settings(row) == _other_settings(student)]
    found.sort(key=lambda row: (row is not student, -len(pairs & _pairs(row)), -len(own & set(seeds(row)))))
    return found[0] if found else None


def _pairs(row: Row) -> set[tuple[int, int | None]]:
    """Returns the seeds of a row's students with those of their teachers."""
    return {(run.seed, run.teacher.seed) for run in row.runs if run.teacher}


def _maps(lines: Sequence[Line]) -> str:
    """Returns which parsing maps the teachers of the lines see, in words."""
    students = [line.student for line in lines if line.student]
    damaged = {parsing_maps(row.runs[0].config) for row in students if row.damage != "none"}
    return ", or ".join(sorted(damaged)) or "the parsing map of the true face"


def _published(subject: Subject, test_set: str, line: Line) -> Score | None:
    return TABLE_2.get(line.variant) if subject.scale == SCALE and dataset_of(test_set) == "celeba" else None


def _score_cells(scores: Mapping[str, RowScores], row: Row | None, otherwise: str, place: int = 0) -> list[Cell]:
    """Returns PSNR and SSIM of a row, and its number of seeds."""
    if row is None:
        return [Cell(otherwise), Cell()]
    score = scores[row.label]
    return [Cell(f"{plus_minus(score.psnr, 2)} / {plus_minus(score.ssim, 4)}", place), Cell(str(score.seeds))]
