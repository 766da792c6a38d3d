"""Writes one CSV row per finished run: python experiments/collect.py RUN [RUN ...] > experiments/results/NAME.csv.

Everything comes from the run folders' results.json, so a row can be traced to its command, seed, data and checkpoint.
"""

import csv
import json
import sys
from pathlib import Path


def row(run: Path) -> dict[str, object]:
    """Returns the row of one run folder."""
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    if results["status"] != "finished":
        sys.exit(f"{run} is not finished ({results['status']}).")
    metrics = {name: round(value, 4) for name, value in results["metrics"].items()}
    return {
        "run": run.name,
        "command": results["command"],
        "seed": results["seed"],
        "commit": (results["git"] or {}).get("commit", "")[:12],
        "data": f"{results['data']['name']} {results['data']['sha256'][:12]}",
        "teacher": (results["teacher"] or {}).get("sha256", "")[:12],
        "params": results["params"],
        "gmacs": round(results["macs"] / 1e9, 3),
        "steps": results["steps"],
        "wall_s": results["wall_s"],
        **metrics,
    }


def main() -> None:
    """Writes the table to standard output."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows = [row(Path(argument)) for argument in sys.argv[1:]]
    columns = list(dict.fromkeys(column for each in rows for column in each))
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
