"""Row 7: how long `--help` and the message about a misspelt key take; row 20: a small task of other verbs.

    python benchmarks/startup.py

Rows 11, 12 and 16 are of evaluate, train and predict. Seconds are CPU seconds of the processes started, which a busy
machine does not lengthen.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from typing import Final

from timing import Claim, arguments, compared, interleaved, report

TARGET_S = 0.7
COMMANDS: Final = {
    "pkdn --help": ["-m", "pkdn_lightning", "--help"],
    "pkdn train --help": ["-m", "pkdn_lightning.train", "--help"],
    "a misspelt key": ["-m", "pkdn_lightning.train", "traner=cpu"],
    "import torch": ["-c", "import torch"],
}
TASKS: Final = {  # a small one of each verb; those of train, evaluate and predict have rows of their own
    "prepare, 48 faces": ["prepare", "data=portraits", "data.source.train=32", "data.source.val=8",
                          "data.source.test=8"],
    "info, a reduced network": ["info", "model=pkdn_student", "size=reduced", "threads=1"],
    "export, one format, compared on faces": ["export", "model=portraits_x8", "formats=[safetensors]", "output=files",
                                              "threads=1"],
    "sweep status": ["sweep", "status", "."],
}  # fmt: skip


def took(command: list[str], folder: str | None = None) -> float:
    """Returns the CPU seconds of a Python process in a folder, whatever it answers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], capture_output=True, check=False, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imports_torch(command: list[str]) -> bool:
    """Tells whether torch gets imported on the way."""
    done = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True, check=False)
    return any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures each command."""
    taken = interleaved({name: lambda c=command: took(c) for name, command in COMMANDS.items()}, options.rounds)  # type: ignore[misc]
    torch_s = statistics.median(taken.pop("import torch"))
    made = []
    for name, each in taken.items():
        middle = statistics.median(each)
        note = f"{'imports torch!' if imports_torch(COMMANDS[name]) else 'torch is not imported'}"
        against = f"import torch: {torch_s:.2f} s"
        made.append(Claim("7", name, against, middle, min(each), max(each), TARGET_S, "s", at_most=True, note=note))
    return [*made, *_tasks(options)]


def _tasks(options: argparse.Namespace) -> list[Claim]:
    """Measures a small task of other verbs, each time in an empty folder, against importing torch."""

    def worked(task: list[str]) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return took(["-m", "pkdn_lightning", *task], folder)

    tasks = {name: lambda task=task: worked(task) for name, task in TASKS.items()}  # type: ignore[misc]
    taken = interleaved({"torch": lambda: took(COMMANDS["import torch"]), **tasks}, options.rounds)
    torch_s = taken.pop("torch")
    return [
        Claim("20", name, "import torch", *compared(seconds, torch_s), float("nan"), note=f"{min(seconds):.2f} CPU s")
        for name, seconds in taken.items()
    ]


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    return arguments(__doc__)


if __name__ == "__main__":
    chosen = parser().parse_args()
    report(claims(chosen), chosen)
