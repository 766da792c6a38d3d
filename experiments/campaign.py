"""A few minutes on a GPU host without network, used to the end: checks and speed, then full-size trainings.

    python experiments/campaign.py pack FACES faces.tar.xz                             before, where the faces are
    python experiments/campaign.py check --out results --seconds 210
    python experiments/campaign.py train --out results --seconds 570 --faces faces.tar.xz [-- key=value ...]

`check` runs the tests of `tests/gpu` and `benchmarks/gpu.py`. `train` trains a teacher and a student without
distillation side by side, then a student that learns from the teacher in as many steps, and evaluates the three; the
lengths come from the measured pace and the time left.

Every step is a process with a time limit, and its results are appended to `rows.jsonl` as they come: killed at any
moment, what was reached is there. The same command again continues trainings from their last checkpoints. In `--out`
there are at the end `rows.jsonl`, `log.txt`, `runs.tar.gz` (curves, configurations, values of each face), the picture
of the test faces, and the weights of each network in float16.
"""

import argparse
import csv
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from processes import Campaign  # noqa: E402

from pkdn_lightning.files import read_json, whole_file, write_json  # noqa: E402

NAMES: Final = ("teacher", "plain", "distilled")
_DISTILLING: Final = 0.9
"""Mean time of a distilled step, of that with the teacher, which runs in the first third and takes a sixth of it."""
_MARGIN: Final = 0.93
"""Part of the time for training steps; the rest is for validations and checkpoints."""
_VALIDATIONS: Final = 4
_GUESS: Final = 10.0
"""Steps a second, if no pace could be measured."""
TINY: Final = (
    "model.width=8", "model.rcabs_per_level=1", "data.batch_size=2", "trainer.log_every_n_steps=1", "threads=1",
    "trainer.precision=32-true",
)  # fmt: skip


def check(campaign: Campaign) -> None:
    """Runs the tests that need a GPU, then the benchmark; both append their own rows."""
    device = campaign.options.device
    os.environ["PKDN_GPU_TESTS_DEVICE"] = device
    tests = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
    tests += [ROOT / "tests/gpu", *(["-k", "degradation"] if campaign.options.tiny else [])]
    if find_spec("xdist") and not campaign.options.tiny:
        tests += ["-n", "4"]  # most of a test is the host's time
    campaign.wait("tests", campaign.start(*tests), campaign.lengths.tests)
    bench = [ROOT / "benchmarks/gpu.py", "--device", device, "--rows", campaign.rows, "--seconds", int(campaign.left())]
    bench += ["--tiny"] if campaign.options.tiny else []
    campaign.wait("benchmark", campaign.start(*bench), campaign.left())


def train(campaign: Campaign) -> None:
    """Trains teacher and students in the time that is left, and evaluates them."""
    from packed_faces import make_stores  # beside this file

    stores = make_stores(campaign.options.faces, campaign.work / "stores", 8 if campaign.options.tiny else None)
    campaign.row("stores", what=", ".join(stores))
    trainings = Trainings(campaign, stores)
    plan = trainings.plan()
    side_by_side = {name: trainings.start(name, plan[name]) for name in ("teacher", "plain")}
    for name, process in side_by_side.items():
        trainings.wait(name, process, campaign.left() - campaign.lengths.evaluation)
    trainings.wait(
        "distilled",
        trainings.start("distilled", plan["distilled"], f"teacher.checkpoint={trainings.folder('teacher')}"),
        campaign.left() - campaign.lengths.evaluation,
    )
    evaluate(campaign, stores)


class Trainings:
    """Trainings in run folders below the working folder, by the verb `train`.

    Args:
        campaign: The campaign.
        stores: Stores by name; the first one is trained on.
    """

    def __init__(self, campaign: Campaign, stores: Mapping[str, Path]) -> None:
        self.campaign, self.options = campaign, campaign.options
        self.data, self.store = next(iter(stores.items()))
        self.steps = campaign.work / "plan.json"

    def folder(self, name: str) -> Path:
        """Returns the run folder of a training."""
        return self.campaign.work / "runs" / name

    def plan(self) -> dict[str, int]:
        """Returns the steps of each training: those of an earlier session, or those that the time left allows."""
        planned = read_json(self.steps)
        if not planned:
            rates = self.pace()
            lengths = self.campaign.lengths
            usable = _MARGIN * (self.campaign.left() - lengths.evaluation - 2 * rates.pop("startup_s"))
            together = usable / (1 / rates["plain"] + _DISTILLING / rates["distilled"]) / rates["plain"]
            plain, teacher = (  # multiples, so that the last validation sees the last step
                _VALIDATIONS * max(2, int(min(together * rates[name], lengths.most)) // _VALIDATIONS)
                for name in ("plain", "teacher")
            )
            planned = {"teacher": teacher, "plain": plain, "distilled": plain}
            write_json(self.steps, planned)
        self.campaign.row("plan", **planned)
        return planned

    def pace(self) -> dict[str, float]:
        """Returns steps a second as the trainings will run, and the seconds of a process besides its steps."""
        begun = time.monotonic()
        pair = {name: self.start(name, 0) for name in ("teacher", "plain")}
        for name, process in pair.items():
            self.campaign.wait(f"pace of {name}", process, 90)
        startup = time.monotonic() - begun - self.campaign.lengths.pace
        teacher = f"teacher.checkpoint={self.folder('pace_teacher')}"
        self.campaign.wait("pace of distilled", self.start("distilled", 0, teacher), 90)
        rates = {name: self._rate(self.folder(f"pace_{name}")) for name in NAMES}
        for name, rate in rates.items():
            self.campaign.row("pace", what=name, value=round(rate, 2), unit="steps/s")
        return rates | {"startup_s": max(1.0, startup)}

    def _rate(self, run: Path) -> float:
        """Returns the steps a second of a run between its first and last logged step; a low guess if it has none."""
        times = [(int(row["step"]), float(row["train/wall_s"])) for row in _curve(run) if row.get("train/wall_s")]
        if len(times) < 2:
            return _GUESS
        (first, begun), (last, ended) = times[0], times[-1]
        return (last - first) / (ended - begun)

    def start(self, name: str, steps: int, *overrides: str) -> subprocess.Popen[bytes] | None:
        """Starts or resumes a training; None if it is finished.

        Args:
            name: One of `NAMES`.
            steps: Its length; 0 measures the pace for the seconds of `Lengths.pace`, without validation.
            *overrides: Further overrides.
        """
        run = self.folder(name if steps else f"pace_{name}")
        if read_json(run / "results.json").get("status") == "finished":
            return None
        verb = ["-m", "pkdn_lightning.train"]
        if (run / "checkpoints/last.ckpt").is_file():
            return self.campaign.start(*verb, f"resume={run}")
        accelerator = "gpu" if self.options.device == "cuda" else "cpu"
        line = [
            f"experiment={'teacher' if name == 'teacher' else 'student'}", f"data={self.data}", "recipe=fast",
            "optimizer.lr=5e-4", "data.batch_size=32", f"data.store={self.store}", "data.resident=true",
            "data.eval_batch_size=100", f"trainer.accelerator={accelerator}", "trainer.devices=1",
            "trainer.enable_progress_bar=false", "trainer.num_sanity_val_steps=0", "module.compile=false", "logger=csv",
            f"paths.runs={self.campaign.work / 'runs'}", f"run_dir={run}", "test=false", *OBJECTIVES[name],
        ]  # fmt: skip
        if steps:
            line += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps // _VALIDATIONS}"]
            line += ["callbacks.last.every_n_minutes=1"]
        else:
            line += ["trainer.max_steps=100000", f"trainer.max_time=00:00:00:{self.campaign.lengths.pace:02d}"]
            line += ["trainer.limit_val_batches=0", "callbacks.best=null", "trainer.log_every_n_steps=10"]
        tiny = TINY if self.options.tiny else ()
        return self.campaign.start(*verb, *line, *tiny, *self.options.overrides, *overrides)

    def wait(self, name: str, process: subprocess.Popen[bytes] | None, limit: float) -> None:
        """Waits for a training, and keeps its results and its weights."""
        self.campaign.wait(name, process, limit)
        results = read_json(self.folder(name) / "results.json")
        values = {key: results.get(key) for key in ("params", "steps", "wall_s", "status")}
        scores = [(float(row["val/psnr_y"]), row["step"]) for row in _curve(self.folder(name)) if row.get("val/psnr_y")]
        best, step = max(scores, default=(None, None))
        self.campaign.row("trained", what=name, value=best, unit="dB on val", step=step, **values)
        keep(self.campaign, name)


OBJECTIVES: Final = {
    "teacher": (),
    "plain": ("objective=reconstruction",),
    "distilled": ("objective=distillation_first_third", "objective.fs.weight=0.1"),
}


def _curve(run: Path) -> list[dict[str, str]]:
    """Returns the rows of a run's metrics.csv so far."""
    try:
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError:
        return []


def keep(campaign: Campaign, name: str = "") -> None:
    """Writes the archive of the runs, and the weights of one of them in float16, into the folder of results."""
    with whole_file(campaign.out / "runs.tar.gz") as file, tarfile.open(file, "w:gz") as archive:
        patterns = ("metrics.csv", "config.yaml", "results.json", "run.json", "per_image.csv", "table.md")
        for each in sorted(found for pattern in patterns for found in campaign.work.glob(f"*/{pattern}")):
            archive.add(each, each.relative_to(campaign.work))
        for each in sorted(found for pattern in patterns for found in campaign.work.glob(f"runs/*/{pattern}")):
            archive.add(each, each.relative_to(campaign.work))
    if any((campaign.work / "runs" / name / "checkpoints").glob("*.ckpt")) if name else False:
        from pkdn_lightning.models.checkpoints import load_network
        from pkdn_lightning.models.pretrained import write_pretrained

        loaded = load_network(campaign.work / "runs" / name)
        with tempfile.TemporaryDirectory(dir=campaign.work) as folder:
            weights = {key: value.half() for key, value in loaded.net.state_dict().items()}
            made = write_pretrained(folder, loaded.card, weights)
            with whole_file(campaign.out / f"{name}.safetensors") as file:
                file.write_bytes(made.read_bytes())


def evaluate(campaign: Campaign, stores: Mapping[str, Path]) -> None:
    """Measures bicubic and the networks on the test splits, with intervals over faces, by the verb `evaluate`."""
    runs = {name: campaign.work / "runs" / name for name in NAMES}
    models = [f"models.{name}={run}" for name, run in runs.items() if any((run / "checkpoints").glob("*.ckpt"))]
    tests = [f"data.test_stores.{name}={path}" for name, path in stores.items()]
    folder = campaign.work / "evaluation"
    accelerator = "gpu" if campaign.options.device == "cuda" else "cpu"
    line = [*models, *tests, f"accelerator={accelerator}", "data.eval_batch_size=100", f"run_dir={folder}"]
    campaign.wait("evaluate", campaign.start("-m", "pkdn_lightning.evaluate", *line), campaign.left())
    if (folder / "per_image.csv").is_file():
        with (folder / "per_image.csv").open(newline="", encoding="utf-8") as file:
            report(campaign, list(csv.DictReader(file)))
        grid = folder / f"grid_{next(iter(stores))}.png"
        with whole_file(campaign.out / grid.name) as picture:
            picture.write_bytes(grid.read_bytes())


def report(campaign: Campaign, faces: list[dict[str, str]]) -> None:
    """Writes the means of each method, and its differences to the plain student, with 95 % intervals over faces."""
    import numpy as np

    from pkdn_lightning.report.statistics import bootstrap_intervals

    for name in dict.fromkeys(row["set"] for row in faces):
        for metric, unit in (("psnr_y", "dB"), ("ssim_y", "")):
            own = [row for row in faces if row["set"] == name]
            columns = {
                method: np.array([float(row[metric]) for row in own if row["method"] == method])
                for method in dict.fromkeys(row["method"] for row in own)
            }
            if "plain" in columns:
                others = [each for each in ("teacher", "distilled") if each in columns]
                columns |= {f"{each} - plain": columns[each] - columns["plain"] for each in others}
            intervals = bootstrap_intervals(np.stack(list(columns.values()), axis=1))
            for (method, values), (low, high) in zip(columns.items(), intervals, strict=True):
                numbers = {"value": values.mean(), "low": low, "high": high}
                numbers = {key: round(float(number), 5) for key, number in numbers.items()}
                campaign.row("evaluated", what=f"{method} {name} {metric}", unit=unit, faces=len(values), **numbers)


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
        one.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "campaign"), help="stores and runs")
        one.add_argument(
            "--seconds", type=float, default=210 if verb == "check" else 570, help="until all has to be done"
        )
        one.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
        one.add_argument("--tiny", action="store_true", help="small networks and short parts, to try it out")
        one.add_argument("--faces", type=Path, help="the packed file; the included portraits only if not given")
        one.add_argument("overrides", nargs="*", help="of every training, after --")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a verb."""
    options = parser().parse_args(arguments)
    if options.verb == "pack":
        from packed_faces import pack

        counts = pack(options.source, options.file, options.train)
        print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB, {counts}")
        return
    campaign = Campaign(options)
    try:
        {"check": check, "train": train}[options.verb](campaign)
    finally:
        keep(campaign)
        campaign.row("end", files=sorted(each.name for each in campaign.out.iterdir()))


if __name__ == "__main__":
    main()
