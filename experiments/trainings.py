"""The trainings of a campaign: their lengths from the measured pace, their processes, and what is kept of them."""

import csv
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from processes import Campaign

from pkdn_lightning.errors import TrainingError
from pkdn_lightning.files import read_json, whole_file, write_json

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
        """Returns the steps of each training: those planned by an earlier call, or those that the time left allows."""
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
        """Returns steps a second as the trainings will run, and the seconds of a process besides its steps.

        Raises:
            TrainingError: If teacher and plain student both fail.
        """
        begun = time.monotonic()
        pair = {name: self.start(name, 0) for name in ("teacher", "plain")}
        for name, process in pair.items():
            self.campaign.wait(f"pace of {name}", process, 90)
        if len(self.campaign.failed) == len(pair):
            raise TrainingError("Measuring the pace failed; the trainings would fail likewise. The reason is above.")
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
        if not steps:
            shutil.rmtree(run, ignore_errors=True)  # of a call that was killed while it measured
        verb = [name if steps else f"pace of {name}", "-m", "pkdn_lightning.train"]
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
        values = {key: results.get(key) for key in ("params", "wall_s", "status")} | {"steps": steps(self.folder(name))}
        scores = [(float(row["val/psnr_y"]), row["step"]) for row in _curve(self.folder(name)) if row.get("val/psnr_y")]
        best, step = max(scores, default=(None, None))
        self.campaign.row("trained", what=name, value=best, unit="dB on val", step=step, **values)
        self.campaign.archive()
        if has_weights(self.folder(name)):
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


def has_weights(run: Path) -> bool:
    """Returns whether a run wrote a checkpoint."""
    return any((run / "checkpoints").glob("*.ckpt"))


def steps(run: Path) -> int:
    """Returns the steps that a run trained; if it was cut off, those up to its last logged one."""
    logged = max((int(row["step"]) + 1 for row in _curve(run) if row["step"]), default=0)
    return int(read_json(run / "results.json").get("steps", logged))


def keep(campaign: Campaign, name: str) -> None:
    """Writes the weights of a trained network in float16 into the folder of results."""
    from pkdn_lightning.models.checkpoints import load_network
    from pkdn_lightning.models.pretrained import write_pretrained

    loaded = load_network(campaign.work / "runs" / name)
    with tempfile.TemporaryDirectory(dir=campaign.work) as folder:
        weights = {key: value.half() for key, value in loaded.net.state_dict().items()}
        made = write_pretrained(folder, loaded.card, weights)
        with whole_file(campaign.out / f"{name}.safetensors") as file:
            file.write_bytes(made.read_bytes())
