"""Row 7: how long `--help` and the message about a misspelt key take, against importing torch.

    python benchmarks/startup.py

Seconds are CPU seconds of the processes started, which a busy machine does not lengthen.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from typing import Final

from timing import Claim, arguments, interleaved, report

TARGET_S = 0.7
COMMANDS: Final = {
    "pkdn --help": ["-m", "pkdn_lightning", "--help"],
    "pkdn train --help": ["-m", "pkdn_lightning.train", "--help"],
    "a misspelt key": ["-m", "pkdn_lightning.train", "traner=cpu"],
    "import torch": ["-c", "import torch"],
}


def took(command: list[str]) -> float:
    """Returns the CPU seconds of a Python process, whatever it answers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
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
    return made


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    return arguments(__doc__)


if __name__ == "__main__":
    chosen = parser().parse_args()
    report(claims(chosen), chosen)
