"""Every row on the CPU, measured beside its target: what `make bench` runs.

    python benchmarks/all.py --save
    python benchmarks/all.py --only loader startup

Rows that need a trained student or free cores take options of their own script; see there.
"""

import argparse
import importlib
from typing import Final

import torch
from timing import arguments, report

ROWS: Final = (
    "loader", "training_step", "latency", "memory", "startup", "growth", "metrics", "parsing", "verbs", "step_cost",
    "precision", "peers", "prediction",
)  # fmt: skip


def main() -> None:
    """Measures the rows one after the other; what is measured is saved even if a later row fails."""
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.only:
        benchmark = importlib.import_module(name)
        own: argparse.Namespace = benchmark.parser().parse_args(
            ["--rounds", str(options.rounds), "--threads", str(options.threads), *(["--save"] if options.save else [])]
        )
        report(benchmark.claims(own), own)


if __name__ == "__main__":
    main()
