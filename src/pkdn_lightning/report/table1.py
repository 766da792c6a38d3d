"""Table 1: every method beside what was published, on every test set; and what each of them costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pkdn_lightning.report.comparison import FLOOR, Difference, Mean, RowScores
from pkdn_lightning.report.measurements import BATCH, Speed
from pkdn_lightning.report.methods import STUDENT, rank
from pkdn_lightning.report.published_values import SCALE, TABLE_1, TEST_FACES, Score, dataset_of
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.statistics import PAIRED_TEST, RESAMPLES
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, places

SEES_PARSING: Final = "sees the parsing map of the true face: a bound, not comparable with the methods above"


@dataclass(frozen=True)
class Subject:
    """What all tables of a report are about.

    Attributes:
        rows: The rows, without bicubic.
        scores: `scores[test set][label]`.
        reference: Label of the row that the others are compared with.
        speeds: By label.
        scale: Enlargement from LR to HR.
        protocol: What is compared, in words.
        data: What the runs were trained on, in words.
        device: On what speeds were measured, in words.
    """

    rows: Sequence[Row]
    scores: Mapping[str, Mapping[str, RowScores]]
    reference: str
    speeds: Mapping[str, Speed]
    scale: int
    protocol: str
    data: str
    device: str

    @property
    def budget(self) -> str:
        """How long and on how many faces a step was trained, in words."""
        budgets = {(_steps(row), _batch(row)) for row in self.rows if not row.reads_parsing}
        if len(budgets) != 1:
            return "budgets differ (see the costs)"
        steps, batch = budgets.pop()
        return f"{steps} steps of {batch} faces"

    def published(self, test_set: str) -> Mapping[str, Score]:
        """Returns the paper's scores on a test set by method; none on test sets that it does not have."""
        dataset = dataset_of(test_set)
        return TABLE_1[dataset] if dataset and self.scale == SCALE else {}


def quality_table(subject: Subject, test_set: str) -> Table:
    """Returns how the methods stand on a test set."""
    scores, published = subject.scores[test_set], subject.published(test_set)
    comparable = [FLOOR, *(row for row in subject.rows if not row.reads_parsing)]
    teachers = [row for row in subject.rows if row.reads_parsing]
    best = {
        key: dict(
            zip(
                (row.label for row in comparable),
                places([getattr(scores[row.label], key).mean for row in comparable]),
                strict=True,
            )
        )
        for key in ("psnr", "ssim")
    }
    lines = [
        (rank(row.method), _quality(row, scores[row.label], published, {key: best[key][row.label] for key in best}))
        for row in comparable
    ]
    run = {row.method for row in comparable}
    lines += [(rank(method), _not_run(method, published[method])) for method in published if method not in run]
    lines.sort(key=lambda line: line[0])
    count = len(next(iter(scores.values())).faces.names)
    return Table(
        f"Table 1, {test_set}: x{subject.scale} on {count:,} test faces. Trained on {subject.data}; {subject.budget}. "
        f"{subject.protocol}",
        ["Method", "Published PSNR", "Published SSIM", "PSNR (dB)", "95 %", "SSIM", "95 %", "Seeds",
         f"Δ PSNR to {subject.reference}", "95 %", "p (Holm)"],
        [
            Section([cells for _, cells in lines]),
            Section([_quality(row, scores[row.label], {}, {}) for row in teachers], SEES_PARSING),
        ],
        _quality_notes(subject, test_set, count),
    )  # fmt: skip


def cost_table(subject: Subject) -> Table:
    """Returns what the methods cost, and what they were taught with."""
    sections = []
    for title, reads in (("", False), (SEES_PARSING, True)):
        rows = [row for row in subject.rows if row.reads_parsing is reads]
        sections.append(Section([_cost(row, subject.speeds[row.label]) for row in rows], title))
    return Table(
        f"Cost: one face of x{subject.scale}. Speeds on {subject.device}",
        ["Method", "Parameters", "GMACs", "Images/s, one at a time", f"Images/s, {BATCH} at a time", "Training steps",
         "Batch", "Taught with"],
        sections,
        [
            "GMACs: multiply-accumulates of convolutions and matrix products for one face, in billions.",
            "Images/s: median of a few forward passes after a warm-up, without reading and writing files.",
        ],
    )  # fmt: skip


def table1_records(subject: Subject) -> list[dict[str, Any]]:
    """Returns everything in Table 1 as numbers, a record per test set and method."""
    records = []
    for test_set, scores in subject.scores.items():
        published = subject.published(test_set)
        for row in (FLOOR, *subject.rows):
            row_scores, score = scores[row.label], published.get(row.method)
            record: dict[str, Any] = {"test_set": test_set, "faces": len(row_scores.faces.names), "method": row.label}
            record |= {"sees_parsing_map": row.reads_parsing, "seeds": row_scores.seeds if row.runs else 0}
            record |= {"published_psnr": score.psnr if score else "", "published_ssim": score.ssim if score else ""}
            for key, mean in (("psnr", row_scores.psnr), ("ssim", row_scores.ssim)):
                record |= {key: mean.mean, f"{key}_std": mean.std, f"{key}_low": mean.low, f"{key}_high": mean.high}
            for key, gain in (("psnr_gain", row_scores.psnr_gain), ("ssim_gain", row_scores.ssim_gain)):
                if gain is not None:
                    record |= {
                        f"{key}{'' if name == 'mean' else f'_{name}'}": value for name, value in gain._asdict().items()
                    }
            records.append(record | {"reference": subject.reference} | _cost_record(row, subject.speeds))
    return records


def plus_minus(mean: Mean, digits: int) -> str:
    """Returns a mean, with the spread over seeds where there are several."""
    spread = f" ± {mean.std:.{digits}f}" if mean.std is not None else ""
    return f"{mean.mean:.{digits}f}{spread}"


def signed(value: float, digits: int = 3) -> str:
    """Returns a number with its sign, as it is printed."""
    return f"{value:+.{digits}f}".replace("-", "−")


def _quality(row: Row, row_scores: RowScores, published: Mapping[str, Score], best: Mapping[str, int]) -> list[Cell]:
    score, gain = published.get(row.method), row_scores.psnr_gain
    return [
        Cell(row.label),
        Cell(f"{score.psnr:.2f}" if score else NONE),
        Cell(f"{score.ssim:.4f}" if score else NONE),
        Cell(plus_minus(row_scores.psnr, 2), best.get("psnr", 0)),
        Cell(f"{row_scores.psnr.low:.2f} to {row_scores.psnr.high:.2f}"),
        Cell(plus_minus(row_scores.ssim, 4), best.get("ssim", 0)),
        Cell(f"{row_scores.ssim.low:.4f} to {row_scores.ssim.high:.4f}"),
        Cell(str(row_scores.seeds) if row.runs else NONE),
        *gain_cells(gain),
    ]


def gain_cells(gain: Difference | None) -> list[Cell]:
    """Returns a difference in PSNR, its interval and its corrected p-value."""
    if gain is None:
        return [Cell(NONE)] * 3
    p = "< 0.001" if gain.p_holm < 0.001 else f"{gain.p_holm:.3f}"
    return [Cell(signed(gain.mean)), Cell(f"{signed(gain.low)} to {signed(gain.high)}"), Cell(p)]


def _not_run(method: str, score: Score) -> list[Cell]:
    own = [Cell(method), Cell(f"{score.psnr:.2f}"), Cell(f"{score.ssim:.4f}"), Cell("not run")]
    return own + [Cell(NONE)] * 7


def _quality_notes(subject: Subject, test_set: str, count: int) -> list[str]:
    notes = []
    if subject.published(test_set):
        theirs = TEST_FACES[str(dataset_of(test_set))]
        notes.append(
            f"Published: PKDN's Table 1, and DIC's for bicubic and DICGAN, on {theirs:,} test faces of their own crops"
            f"{'' if theirs == count else f' (here {count:,})'}. Measured numbers compare with each other; with the "
            "published ones only where faces, crops and training are the same."
        )
    notes.append(
        "PSNR and SSIM: mean over faces, ± standard deviation over seeds where there are two or more. Bold: best of "
        "the comparable methods; underlined: second."
    )
    notes.append(
        f"95 %: percentile bootstrap over test faces ({RESAMPLES:,} resamples) of the values averaged over seeds. It "
        "speaks of these trained networks on other faces, not of other trainings."
    )
    has_pkdn = any(row.method == STUDENT for row in subject.rows)
    why = "" if has_pkdn else f", the best method here: there is no {STUDENT} run"
    notes.append(
        f"Δ: face by face against {subject.reference}{why}. p: {PAIRED_TEST}, two-sided, Holm-corrected over "
        "the other rows of the table."
    )
    return notes


def _cost(row: Row, speed: Speed) -> list[Cell]:
    results = row.runs[0].results
    return [
        Cell(row.label),
        Cell(f"{results['params']:,}"),
        Cell(f"{results['macs'] / 1e9:.3f}"),
        *(Cell(f"{each:,.0f}" if each >= 100 else f"{each:.3g}") for each in speed),
        Cell(_steps(row)),
        Cell(_batch(row)),
        Cell("parsing maps, which it also sees in use" if row.reads_parsing else row.taught_with or "HR faces alone"),
    ]


def _cost_record(row: Row, speeds: Mapping[str, Speed]) -> dict[str, Any]:
    if not row.runs:
        return {}
    results = row.runs[0].results
    return {
        "params": results["params"],
        "macs": results["macs"],
        "images_per_s_one": speeds[row.label].one,
        f"images_per_s_{BATCH}": speeds[row.label].eight,
        "steps": _steps(row).replace(",", ""),
        "batch": _batch(row),
        "taught_with": row.taught_with,
    }


def _steps(row: Row) -> str:
    steps = sorted({int(run.results["steps"]) for run in row.runs})
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"


def _batch(row: Row) -> str:
    return str(row.runs[0].batch)
