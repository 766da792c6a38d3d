"""What became of runs and jobs, read from their folders alone: no torch, and whoever trains them is not disturbed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from pkdn_lightning.config.sweeps import Sitting

_console = Console(soft_wrap=True, highlight=False)


def end_sitting() -> int:
    """Says how the jobs of the sweep that this process has run ended; nothing if it was no sweep.

    Returns:
        The exit status: 1 if a job failed, 0 otherwise.
    """
    if Sitting.latest is None:
        return 0
    folder, sitting = Sitting.latest
    jobs = dict(jobs_of(folder, sitting))
    failed = {path: job for path, job in jobs.items() if job.get("outcome") == "failed"}
    for path, job in failed.items():
        _console.print(f"\n[bold red]failed[/] {path.name}", highlight=False)
        _console.print(f"{job['error']}\nRepeat it: {job['command']}", markup=False)
    outcomes = [job.get("outcome", "not finished") for job in jobs.values()]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))
    _console.print(
        f"\nSweep in {folder}: {len(jobs)} jobs, {counts}. The same command again runs what is not finished."
    )
    return 1 if failed else 0


def jobs_of(folder: Path, sitting: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yields the run folders and records of the jobs of one sitting of a sweep."""
    for file in sorted(folder.glob("*/job.json")):
        try:
            job = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if job.get("sweep") == sitting:
            yield file.parent, job
