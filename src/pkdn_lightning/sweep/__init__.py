"""The verb `sweep`: a table of the status of the runs below a folder.

pkdn sweep status runs/student_celeba/lambdas
pkdn sweep runs=runs watch=true
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pkdn_lightning.config.command_line import WITH_VALUE
from pkdn_lightning.config.verb import run_verb
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.runs import RunStatus

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Group

    from pkdn_lightning.sweep.status import RunProgress

_STYLES = {
    RunStatus.RUNNING: "cyan",
    RunStatus.WAITING: "yellow",
    RunStatus.FINISHED: "green",
    RunStatus.INTERRUPTED: "magenta",
    RunStatus.FAILED: "bold red",
}
_NOTE = 90


def sweep(cfg: "DictConfig") -> "list[RunProgress]":
    """Prints the status of the runs below `cfg.runs`; with `cfg.watch`, repeatedly until Ctrl-C.

    Args:
        cfg: A configuration as `compose("sweep", ["runs=<folder>"])` returns it.

    Returns:
        The rows of the last table.

    Raises:
        ConfigError: If there is no such folder, or no run in it.
    """
    from rich.live import Live

    from pkdn_lightning.console import console
    from pkdn_lightning.sweep.status import find_progress

    root = Path(cfg.runs)
    found = find_progress(root) if root.is_dir() else []
    if not found:
        raise ConfigError(f"There is no run in {root}. Name the folder of a sweep: pkdn sweep status runs/<experiment>")
    if not cfg.watch:
        console.print(status_table(root, found))
        return found
    with Live(status_table(root, found), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(cfg.every_s)
            found = find_progress(root)
            live.update(status_table(root, found), refresh=True)


def status_table(root: Path, found: "Sequence[RunProgress]") -> "Group":
    """Returns the table: a row per run, and the number of runs by status."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("job", overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("val PSNR", justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for each in found:
        step = "" if each.step is None else f"{each.step:,}"
        done = "" if each.share is None or each.status == RunStatus.FINISHED else f" {each.share:4.0%}"
        table.add_row(
            Text(str(each.run.path.relative_to(root)).replace("+", " ")),
            Text(each.status, style=_STYLES[each.status]),
            step + done,
            "" if each.psnr is None else f"{each.psnr:.2f}",
            "" if each.left_s is None else _time(each.left_s),
            Text(each.note.partition("\n")[0][:_NOTE]),
        )
    counts = {status: sum(each.status == status for each in found) for status in RunStatus}
    totals = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    left = [each.left_s for each in found if each.left_s is not None]
    end = f"; the last one running ends in {_time(max(left))}" if left else ""
    return Group(table, Text(f"{len(found)} in {root}: {totals}{end}"))


def _time(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def main() -> None:
    """Runs the verb from the command line, which may be `pkdn sweep status <folder>`."""
    sys.argv[1:] = _as_overrides(sys.argv[1:])
    run_verb("sweep", sweep)


def _as_overrides(arguments: Sequence[str]) -> list[str]:
    """Returns `status <folder>` as Hydra overrides."""
    rest = arguments[1:] if arguments[:1] == ["status"] else list(arguments)
    after = ["", *rest]
    return [
        f"runs={each}" if "=" not in each and not each.startswith("-") and before not in WITH_VALUE else each
        for before, each in zip(after, rest, strict=False)
    ]
