"""A few minutes on a GPU host without network, used to the end: checks and speed, then full-size trainings.

    python experiments/campaign.py pack FACES faces.tar.xz                             before, where the faces are
    python experiments/campaign.py check --out results --seconds 210
    python experiments/campaign.py train --out results --seconds 570 --faces faces.tar.xz [-- key=value ...]

`check` runs the tests of `tests/gpu` and `benchmarks/gpu.py`. `train` trains a teacher and a student without
distillation side by side, then a student that learns from the teacher in as many steps, and evaluates the three; the
lengths come from the measured pace and the time left.

Every step is a process with a time limit, and its results are appended to `rows.jsonl` as they come: killed at any
moment, what was reached is there. The same command again continues trainings from their last checkpoints. In `--out`
there are at the end `rows.jsonl`, `logs`, `runs.tar.gz` (curves, configurations, values of each face), the picture of
the test faces, and the weights of each network in float16. The exit status is 1 if a step failed.
"""

import argparse
import csv
import math
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from processes import Campaign  # noqa: E402
from trainings import NAMES, Trainings, has_weights, steps  # noqa: E402

from pkdn_lightning.errors import DeviceError, PKDNError, TrainingError  # noqa: E402
from pkdn_lightning.files import whole_file  # noqa: E402


def check(campaign: Campaign) -> None:
    """Runs the tests that need a GPU, then the benchmark; both append their own rows."""
    device = campaign.options.device
    os.environ["PKDN_GPU_TESTS_DEVICE"] = device
    tests = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
    tests += [ROOT / "tests/gpu", *(["-k", "degradation"] if campaign.options.tiny else [])]
    if find_spec("xdist") and not campaign.options.tiny:
        tests += ["-n", "4"]  # most of a test is the host's time
    campaign.wait("tests", campaign.start("tests", *tests), campaign.lengths.tests)
    bench = [ROOT / "benchmarks/gpu.py", "--device", device, "--rows", campaign.rows, "--seconds", int(campaign.left())]
    bench += ["--tiny"] if campaign.options.tiny else []
    campaign.wait("benchmark", campaign.start("benchmark", *bench), campaign.left())


def train(campaign: Campaign) -> None:
    """Trains teacher and students in the time that is left, and evaluates those that have weights."""
    from packed_faces import make_stores  # beside this file

    stores = make_stores(campaign.options.faces, campaign.work / "stores", 8 if campaign.options.tiny else None)
    campaign.row("stores", what=", ".join(stores))
    trainings = Trainings(campaign, stores)
    plan = trainings.plan()
    side_by_side = {name: trainings.start(name, plan[name]) for name in ("teacher", "plain")}
    for name, process in side_by_side.items():
        trainings.wait(name, process, campaign.left() - campaign.lengths.evaluation)
    if has_weights(teacher := trainings.folder("teacher")):
        distilling = trainings.start("distilled", plan["distilled"], f"teacher.checkpoint={teacher}")
        trainings.wait("distilled", distilling, campaign.left() - campaign.lengths.evaluation)
    runs = {name: trainings.folder(name) for name in NAMES if has_weights(trainings.folder(name))}
    if not runs:
        raise TrainingError(f"No training wrote a checkpoint. See {campaign.logs}, or give it more --seconds.")
    evaluate(campaign, stores, runs)


def evaluate(campaign: Campaign, stores: Mapping[str, Path], runs: Mapping[str, Path]) -> None:
    """Measures bicubic and the networks on the test splits, with intervals over faces, by the verb `evaluate`."""
    models = [f"models.{name}={run}" for name, run in runs.items()]
    tests = [f"data.test_stores.{name}={path}" for name, path in stores.items()]
    folder = campaign.work / "evaluation"
    accelerator = "gpu" if campaign.options.device == "cuda" else "cpu"
    line = [*models, *tests, f"accelerator={accelerator}", "data.eval_batch_size=100", f"run_dir={folder}"]
    process = campaign.start("evaluate", "-m", "pkdn_lightning.evaluate", *line)
    if campaign.wait("evaluate", process, campaign.left()):
        with (folder / "per_image.csv").open(newline="", encoding="utf-8") as file:
            report(campaign, list(csv.DictReader(file)), {name: steps(run) for name, run in runs.items()})
        grid = folder / f"grid_{next(iter(stores))}.png"
        with whole_file(campaign.out / grid.name) as picture:
            picture.write_bytes(grid.read_bytes())
    elif "evaluate" not in campaign.failed:  # without it there is no result
        campaign.failed.append("evaluate (out of time; the same command again goes on with it)")


def report(campaign: Campaign, faces: list[dict[str, str]], trained: Mapping[str, int]) -> None:
    """Writes the means of each method, and its differences to the plain student, with 95 % intervals over faces.

    Args:
        campaign: The campaign.
        faces: The rows of per_image.csv.
        trained: Steps of each network; students with different ones are not compared.
    """
    import numpy as np

    from pkdn_lightning.report.statistics import bootstrap_intervals

    for name in dict.fromkeys(row["set"] for row in faces):
        for metric, unit in (("psnr_y", "dB"), ("ssim_y", "")):
            own = [row for row in faces if row["set"] == name]
            columns = {
                method: np.array([float(row[metric]) for row in own if row["method"] == method])
                for method in dict.fromkeys(row["method"] for row in own)
            }
            for other in ("teacher", "distilled"):
                if not {other, "plain"} <= set(columns):
                    continue
                if other == "distilled" and trained[other] != trained["plain"]:
                    why = f"not compared: distilled trained {trained[other]} steps, plain {trained['plain']}"
                    campaign.row("evaluated", what=f"{other} - plain {name} {metric}", value=None, why=why)
                else:
                    columns[f"{other} - plain"] = columns[other] - columns["plain"]
            intervals = bootstrap_intervals(np.stack(list(columns.values()), axis=1))
            for (method, values), (low, high) in zip(columns.items(), intervals, strict=True):
                numbers = {"value": values.mean(), "low": low, "high": high}
                told = {key: round(float(number), 5) for key, number in numbers.items()} | {"faces": len(values)}
                told |= {"steps": trained[method]} if method in trained else {}
                campaign.row("evaluated", what=f"{method} {name} {metric}", unit=unit, **told)


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = made.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack", help="pack faces into one file")
    packing.add_argument("source", type=Path, help="folder with celeba, celebamask_hq and helen")
    packing.add_argument("file", type=Path, help="the packed file; keep it out of version control")
    packing.add_argument("--train", type=int, help="the first training faces only")
    for verb in ("check", "train"):
        one = verbs.add_parser(verb)
        one.add_argument("--out", type=Path, required=True, help="folder of results")
        one.add_argument("--work", type=Path, help="stores and runs; by default in the temporary folder")
        one.add_argument(
            "--seconds", type=_seconds, default=210 if verb == "check" else 570, help="until all has to be done"
        )
        one.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
        one.add_argument("--tiny", action="store_true", help="small networks and short parts, to try it out")
        one.add_argument("--faces", type=Path, help="the packed file; the included portraits only if not given")
        one.add_argument("overrides", nargs="*", help="of every training, after --")
    return made


def _seconds(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no positive number of seconds")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb.

    Raises:
        SystemExit: With a message if something failed.
    """
    options = parser().parse_args(arguments)
    try:
        failed = run(options)
    except (PKDNError, OSError) as error:
        sys.exit(f"campaign.py: {error}")
    if failed:
        sys.exit(f"campaign.py: failed: {', '.join(failed)}. What they printed is in {options.out / 'logs'}.")


def run(options: argparse.Namespace) -> list[str]:
    """Runs a verb, and returns the names of the processes that failed.

    Raises:
        PKDNError: If the options, the faces or the device cannot be used, or no network was trained.
    """
    from packed_faces import check_packed, pack

    if options.verb == "pack":
        counts = pack(options.source, options.file, options.train)
        print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB, {counts}")
        return []
    if options.faces:
        check_packed(options.faces)
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise DeviceError("There is no CUDA device here. To try a campaign out without one: --device cpu --tiny")
    campaign = Campaign(options)
    try:
        {"check": check, "train": train}[options.verb](campaign)
    finally:
        campaign.archive()
        files = sorted(each.name for each in campaign.out.iterdir())
        campaign.row("end", files=files, failed=campaign.failed)
    return campaign.failed


if __name__ == "__main__":
    main()
