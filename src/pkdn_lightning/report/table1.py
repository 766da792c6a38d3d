"""Table 1: every method beside what was published, on every test set; and what each of them costs."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pkdn_lightning.report.measurements import BATCH, Speed
from pkdn_lightning.report.methods import STUDENT, rank
from pkdn_lightning.report.published_values import TEST_FACES, Score, dataset_of
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.scores import BASELINE, Difference, Mean, Subject, to_record
from pkdn_lightning.report.statistics import PAIRED_TEST, RESAMPLES
from pkdn_lightning.report.tables import NONE, Cell, Section, Table, places

SEES_PARSING: Final = "sees the parsing map of the true face: a bound, not comparable with the methods above"
SEES_DAMAGED: Final = "sees a damaged parsing map of the true face: not comparable with the methods above"
OVER_SEEDS: Final = "95 % over seeds and faces"
OVER_SEEDS_NOTE: Final = (
    f"{OVER_SEEDS}: what other trainings would give on other faces. Student's t with seeds and faces as crossed "
    "random effects (Hillis 2007), of the seeds that both rows have; absent if these are fewer than two."
)


class QualityCells(NamedTuple):
    """What tables show of a row on a test set; the 95 % intervals are the cells' details."""

    published_psnr: Cell = Cell()
    published_ssim: Cell = Cell()
    psnr: Cell = Cell()
    ssim: Cell = Cell()
    seeds: Cell = Cell()
    gain: Cell = Cell()
    p: Cell = Cell()
    gain_over_seeds: Cell = Cell()


def quality_cells(subject: Subject, test_set: str) -> dict[str, QualityCells]:
    """Returns what tables show of every row on a test set, by label; best and second are the comparable rows'."""
    scores, published = subject.scores[test_set], subject.published(test_set)
    rows = [BASELINE, *subject.rows]
    comparable = [row.label for row in rows if not row.reads_parsing]
    best_psnr = dict(zip(comparable, places([scores[label].psnr.mean for label in comparable]), strict=True))
    best_ssim = dict(zip(comparable, places([scores[label].ssim.mean for label in comparable]), strict=True))
    found = {}
    for row in rows:
        score = scores[row.label]
        found[row.label] = QualityCells(
            *_published_cells(published.get(row.method)),
            _mean_cell(score.psnr, 2, best_psnr.get(row.label, 0)),
            _mean_cell(score.ssim, 4, best_ssim.get(row.label, 0)),
            Cell(str(score.seeds), value=score.seeds) if row.runs else Cell(),
            *gain_cells(score.psnr_gain),
        )
    return found


def quality_table(subject: Subject, test_set: str) -> Table:
    """Returns how the methods compare on a test set."""
    cells, published = quality_cells(subject, test_set), subject.published(test_set)
    comparable = [BASELINE, *(row for row in subject.rows if not row.reads_parsing)]
    lines = [(rank(row.method), _quality_line(row.label, cells[row.label])) for row in comparable]
    for method in published.keys() - {row.method for row in comparable}:
        not_run = QualityCells(*_published_cells(published[method]), psnr=Cell("not run"))
        lines.append((rank(method), _quality_line(method, not_run)))
    lines.sort(key=lambda line: line[0])
    bounds = [(row, _quality_line(row.label, cells[row.label])) for row in subject.rows if row.reads_parsing]
    count = len(subject.scores[test_set][BASELINE.label].faces.names)
    return Table(
        f"Table 1, {test_set}: x{subject.scale} on {count:,} test faces. Trained on {subject.data}; {subject.budget}. "
        f"{subject.protocol}",
        ["Method", "Published PSNR", "Published SSIM", "PSNR (dB)", "95 %", "SSIM", "95 %", "Seeds",
         f"Δ PSNR to {subject.reference}", "95 %", OVER_SEEDS, "p (Holm)"],
        [Section([line for _, line in lines]), *bound_sections(bounds)],
        _quality_notes(subject, test_set, count),
    )  # fmt: skip


def cost_table(subject: Subject) -> Table:
    """Returns what the methods cost, and what they were taught with."""
    lines = [(row, _cost_line(row, subject.speeds[row.label])) for row in subject.rows]
    return Table(
        f"Cost: one face of x{subject.scale}. Speeds on {subject.device}",
        ["Method", "Parameters", "GMACs", "Images/s, one at a time", f"Images/s, {BATCH} at a time", "Training steps",
         "Batch", "Taught with"],
        [
            Section([line for row, line in lines if not row.reads_parsing]),
            *bound_sections([(row, line) for row, line in lines if row.reads_parsing]),
        ],
        [
            "GMACs: multiply-accumulates of convolutions and matrix products for one face, in billions.",
            "Images/s: median of timed forward passes after a warm-up, without reading and writing files.",
        ],
    )  # fmt: skip


def bound_sections(lines: Sequence[tuple[Row, list[Cell]]]) -> list[Section]:
    """Returns the lines of rows that see the parsing map of the true face, and below them those of damaged maps."""
    whole = Section([line for row, line in lines if row.damage == "none"], SEES_PARSING)
    damaged = Section([line for row, line in lines if row.damage != "none"], SEES_DAMAGED)
    return [whole, damaged] if damaged.rows else [whole]


def table1_records(subject: Subject) -> list[dict[str, Any]]:
    """Returns everything in Table 1 as numbers, a record per test set and method."""
    records = []
    for test_set, scores in subject.scores.items():
        published = subject.published(test_set)
        for row in (BASELINE, *subject.rows):
            score, paper = scores[row.label], published.get(row.method)
            record: dict[str, Any] = {"test_set": test_set, "faces": len(score.faces.names), "method": row.label}
            record |= {"sees_parsing_map": row.reads_parsing, "seeds": len(row.runs)}
            record |= {"published_psnr": paper.psnr if paper else "", "published_ssim": paper.ssim if paper else ""}
            record |= to_record("psnr", score.psnr) | to_record("ssim", score.ssim)
            record |= to_record("psnr_gain", score.psnr_gain) | to_record("ssim_gain", score.ssim_gain)
            record["reference"] = subject.reference
            if row.runs:
                record |= {key: row.runs[0].results[key] for key in ("params", "macs")}
                speed = subject.speeds[row.label]
                record |= {"images_per_s_one": speed.one, f"images_per_s_{BATCH}": speed.eight}
                record |= {"steps": row.steps.replace(",", ""), "batch": row.runs[0].batch}
                record["taught_with"] = row.taught_with
            records.append(record)
    return records


def plus_minus(mean: Mean, digits: int) -> str:
    """Returns a mean, with the standard deviation over seeds where there are several."""
    spread = f" ± {mean.std:.{digits}f}" if mean.std is not None else ""
    return f"{mean.mean:.{digits}f}{spread}"


def signed(value: float, digits: int = 3) -> str:
    """Returns a number with its sign, as it is printed."""
    return f"{value:+.{digits}f}".replace("-", "−")


def gain_cells(gain: Difference | None) -> tuple[Cell, Cell, Cell]:
    """Returns a difference in PSNR with its interval as detail, its corrected p-value, its interval over seeds."""
    if gain is None:
        return Cell(), Cell(), Cell()
    p = "< 0.001" if gain.p_holm < 0.001 else f"{gain.p_holm:.3f}"
    interval = f"{signed(gain.low)} to {signed(gain.high)}"
    low, high = gain.interval
    over_seeds = Cell(f"{signed(low)} to {signed(high)}", value=finite(low)) if gain.covers_seeds else Cell()
    mean = Cell(signed(gain.mean), value=finite(gain.mean), detail=interval)
    return mean, Cell(p, value=finite(gain.p_holm)), over_seeds


def finite(value: float) -> float | None:
    """Returns a number to sort by; None if it is not finite: a network that diverged is neither drawn nor sorted."""
    return value if math.isfinite(value) else None


def _mean_cell(mean: Mean, digits: int, place: int) -> Cell:
    text, interval = plus_minus(mean, digits), f"{mean.low:.{digits}f} to {mean.high:.{digits}f}"
    if not math.isfinite(mean.mean):
        return Cell(text, detail=interval)
    return Cell(text, place, mean.mean, interval, (mean.low, mean.mean, mean.high))


def _published_cells(score: Score | None) -> tuple[Cell, Cell]:
    if score is None:
        return Cell(), Cell()
    return Cell(f"{score.psnr:.2f}", value=score.psnr), Cell(f"{score.ssim:.4f}", value=score.ssim)


def _quality_line(name: str, cells: QualityCells) -> list[Cell]:
    line = [Cell(name), cells.published_psnr, cells.published_ssim]
    line += [cells.psnr, Cell(cells.psnr.detail or NONE), cells.ssim, Cell(cells.ssim.detail or NONE), cells.seeds]
    return [*line, cells.gain, Cell(cells.gain.detail or NONE), cells.gain_over_seeds, cells.p]


def _quality_notes(subject: Subject, test_set: str, count: int) -> list[str]:
    notes = []
    if subject.published(test_set):
        theirs = TEST_FACES[str(dataset_of(test_set))]
        notes.append(
            f"Published: PKDN's Table 1, and DIC's for bicubic and DICGAN, on {theirs:,} test faces of their own crops"
            f"{'' if theirs == count else f' (here {count:,})'}. Measured numbers compare with each other; with the "
            "published ones only where faces, crops and training are the same."
        )
    has_pkdn = any(row.method == STUDENT for row in subject.rows)
    why = "" if has_pkdn else f", the best method here: there is no {STUDENT} run"
    return [
        *notes,
        "PSNR and SSIM: mean over faces, ± standard deviation over seeds where there are two or more. Bold: best of "
        "the comparable methods; underlined: second.",
        f"95 %: percentile bootstrap over test faces ({RESAMPLES:,} resamples) of the values averaged over seeds. It "
        "describes these trained networks on other faces, not other trainings.",
        OVER_SEEDS_NOTE,
        f"Δ: face by face, over the seeds in common if there are any, against {subject.reference}{why}. "
        f"p: {PAIRED_TEST}, two-sided, Holm-corrected over the other rows of the table.",
    ]


def _cost_line(row: Row, speed: Speed) -> list[Cell]:
    results = row.runs[0].results
    speeds = [f"{each:,.0f}" if each >= 100 else f"{each:.3g}" for each in speed]
    costs = [f"{results['params']:,}", f"{results['macs'] / 1e9:.3f}", *speeds, row.steps, str(row.runs[0].batch)]
    return [Cell(text) for text in (row.label, *costs, row.taught_with or "HR faces alone")]
