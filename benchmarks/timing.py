"""What the benchmarks share: fair timing, claims with their targets, and the table they are printed in.

Ratios are taken between variants that run in turns in one run, from the CPU seconds of the process: a busy
machine then slows all variants alike, and waiting costs nothing. A claim is the median of the rounds' ratios, with
their least and greatest.
"""

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from pkdn_lightning.runs import git_state

RESULTS = Path(__file__).resolve().parents[1] / "experiments" / "results"


@dataclass(frozen=True)
class Claim:
    """One measured figure beside its target.

    Attributes:
        row: Row of the table in docs/performance.md.
        what: What was measured.
        against: What it was measured against.
        measured: The median.
        low: The least of the rounds.
        high: The greatest of the rounds.
        target: What is to be reached; NaN where the figure is told for information.
        unit: `x`, `%`, `s`...
        at_most: The target is an upper bound.
        note: Conditions, or why the target is not reached.
    """

    row: str
    what: str
    against: str
    measured: float
    low: float
    high: float
    target: float
    unit: str = "x"
    at_most: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """`reached`, `falls short`, or nothing where there is no target."""
        if self.target != self.target:
            return ""
        good = self.measured <= self.target if self.at_most else self.measured >= self.target
        return "reached" if good else "falls short"


def interleaved(
    variants: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Returns the seconds of each variant in each round, after one unmeasured call of each.

    A variant that returns a number has measured itself (see `Worker`).
    """
    for work in variants.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            begin = clock()
            told = work()
            taken[name].append(told if isinstance(told, float) else clock() - begin)
    return taken


def compared(base: Sequence[float], other: Sequence[float]) -> tuple[float, float, float]:
    """Returns how many times faster `other` is than `base`: median, least and greatest of the rounds."""
    ratios = [a / b for a, b in zip(base, other, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def synchronize(device: torch.device) -> None:
    """Waits for the accelerator."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(once: Callable[[], object], steps: int, device: torch.device) -> Callable[[], float]:
    """Returns what measures the seconds of one of `steps` calls."""

    def measured() -> float:
        synchronize(device)
        begin = time.perf_counter()
        for _ in range(steps):
            once()
        synchronize(device)
        return (time.perf_counter() - begin) / steps

    return measured


def peak_flops(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Returns the operations a second of a square matrix product."""
    a, b = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    work = timed(lambda: a @ b, 5, device)
    work()
    return 2 * side**3 / min(work() for _ in range(5))


class Worker:
    """A variant in a process of its own, so that settings of a process are compared, too.

    The process runs `script --worker <name> ...`, which calls `serve`.

    Args:
        script: The benchmark.
        *arguments: What it is told.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, script, "--worker", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> Any:
        """Has the work done once and returns what the process tells about it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended.")  # type: ignore[union-attr,arg-type]
        return json.loads(line)

    def __call__(self) -> float:
        return float(self.ask())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def serve(work: Callable[[], Any]) -> None:
    """Does the work whenever the parent asks, and answers with its CPU seconds, or with what it returns."""
    for _ in sys.stdin:
        begin = time.process_time()
        told = work()
        sys.stdout.write(json.dumps(time.process_time() - begin if told is None else told) + "\n")
        sys.stdout.flush()


def environment() -> dict[str, str]:
    """Returns date, hardware and versions: what a figure is worth without them is little."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    found = {
        "date": date.today().isoformat(),
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpu": gpu,
        **({"driver": _driver()} if torch.cuda.is_available() else {}),
        "python": platform.python_version(),
    }
    for package in ("torch", "lightning", "numpy", "pillow", "onnxruntime", "scikit-image"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    git = git_state()
    return found | ({"commit": str(git["commit"])[:12]} if git else {})


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return f"CUDA {torch.version.cuda}"


def add_row(file: Path, **values: Any) -> str:
    """Appends a line of JSON to a file, so that it is there even if the host is lost; returns the line.

    A last line without its end, of a process that was killed while writing, stays a line of its own.
    """
    line = json.dumps(values, ensure_ascii=False, default=str)
    with file.open("a+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 1))
        torn = opened.read() not in (b"", b"\n")
        opened.write(b"\n" * torn + line.encode() + b"\n")
        opened.flush()
        os.fsync(opened.fileno())
    return line


def _cpu() -> str:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    extras = [flag for flag in ("avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16") if capabilities.get(flag)]
    return f"{name} ({', '.join(extras)})" if extras else name


def show(claims: Sequence[Claim], console: Console | None = None) -> None:
    """Prints measured beside target."""
    console = console or Console(width=150)
    table = Table(title=", ".join(f"{key} {value}" for key, value in environment().items()), title_justify="left")
    for column in ("row", "what", "against", "measured", "spread", "target", "", "note"):
        table.add_column(column, justify="right" if column in ("measured", "target") else "left")
    for claim in claims:
        table.add_row(*_cells(claim))
    console.print(table)


def _cells(claim: Claim) -> list[str]:
    bound = "" if claim.verdict == "" else f"{'<= ' if claim.at_most else '>= '}{claim.target:g} {claim.unit}"
    spread = f"{claim.low:.3g}..{claim.high:.3g}"
    return [
        claim.row, claim.what, claim.against, f"{claim.measured:.3g} {claim.unit}", spread, bound, claim.verdict,
        claim.note,
    ]  # fmt: skip


def save(claims: Sequence[Claim], stem: Path) -> None:
    """Writes `<stem>.csv` and `<stem>.md`; rows measured before and not now are kept, with their own date."""
    claims = [claim for claim in claims if claim.measured == claim.measured]  # the others were skipped
    if not claims:
        return
    stem.parent.mkdir(parents=True, exist_ok=True)
    conditions = " ".join(f"{key}={value};" for key, value in environment().items())
    new = [
        {
            **{key: str(value) for key, value in asdict(claim).items()},
            "verdict": claim.verdict,
            "measured_on": conditions,
        }
        for claim in claims
    ]
    table = stem.with_suffix(".csv")
    old = list(csv.DictReader(table.open(newline="", encoding="utf-8"))) if table.is_file() else []
    rows = [row for row in old if row["row"] not in {claim.row for claim in claims}] + new
    rows.sort(key=lambda row: row["row"])
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(new[0]))
        writer.writeheader()
        writer.writerows(rows)
    heads = ("row", "what", "against", "measured", "spread", "target", "verdict", "note")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        kept = {key: row[key] for key in ("row", "what", "against", "unit", "note")}
        numbers = {key: float(row[key]) for key in ("measured", "low", "high", "target")}
        claim = Claim(**kept, **numbers, at_most=row["at_most"] == "True")
        lines.append("| " + " | ".join(_cells(claim)) + " |")
    told = dict.fromkeys(row["measured_on"] for row in rows)
    stem.with_suffix(".md").write_text("\n".join([*lines, "", *told, ""]), encoding="utf-8")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Returns the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each variant is measured, in turns")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument(
        "--save", action="store_true", help="write experiments/results/performance_<device>.csv and .md"
    )
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    return parser


def report(claims: Sequence[Claim], options: argparse.Namespace, device: str = "cpu") -> None:
    """Prints the claims, if there are any, and saves them where asked to."""
    if not claims:
        return
    show(claims)
    if options.save:
        save(claims, RESULTS / f"performance_{device}")
