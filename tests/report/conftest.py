"""Run folders made by hand: a few weights, a configuration and an outcome, in the time of a file's writing."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config import compose
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.files import file_sha256, write_json
from pkdn_lightning.models.checkpoints import CARD_KEY, network_from_card
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.report import measurements, report
from pkdn_lightning.runs import RunFolder
from tests.conftest import TINY, write_store


def plain(cfg: DictConfig) -> DictConfig:
    """Returns a configuration without its schema: merging into it takes a tenth of the time."""
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


@dataclass
class RunMaker:
    """Writes run folders below a root."""

    root: Path
    store: FaceStore
    bases: dict[str, DictConfig]

    def __call__(
        self, name: str, *changes: str, teacher: RunFolder | None = None, status: str = "finished"
    ) -> RunFolder:
        """Writes a run: a student with a teacher, or a plain one; named teacher..., a teacher."""
        base = self.bases["teacher_celeba" if name.startswith("teacher") else "student_celeba"]
        cfg = OmegaConf.merge(base, OmegaConf.from_dotlist([f"run_dir={self.root / name}", *changes]))
        run = RunFolder(self.root / name)
        named = None
        if teacher is not None:
            named = {"path": str(teacher.best), "sha256": file_sha256(teacher.best)}
            cfg.teacher.checkpoint = named["path"]
        elif not name.startswith("teacher"):
            cfg.objective = {"sr": cfg.objective.sr}
        run.path.mkdir(parents=True)
        OmegaConf.save(cfg, run.config, resolve=True)
        record = {"experiment": cfg.experiment, "command": "python", "teacher": named, "params": 1, "macs": 1}
        record |= {"data": {"name": self.store.name, "sha256": self.store.sha256}}
        write_json(run.provenance, record)
        if status:
            metrics = {"best/val/psnr_y": 20 + cfg.seed}
            write_json(run.results, {**record, "status": status, "steps": cfg.trainer.max_steps, "metrics": metrics})
        if status == "finished":
            self.write_checkpoint(run)
        return run

    def write_checkpoint(self, run: RunFolder, seed: int | None = None) -> None:
        """Writes weights that depend on the seed, and enters the network's size in the outcome."""
        cfg = OmegaConf.load(run.config)
        torch.manual_seed(cfg.seed if seed is None else seed)
        network = OmegaConf.to_container(cfg.model)
        net = network_from_card(network, run.config)
        card = {"network": network} | {key: cfg.data[key] for key in ("scale", "degradation", "encoding")}
        state = {f"net.{name}": value for name, value in net.state_dict().items()}
        run.checkpoints.mkdir(exist_ok=True)
        torch.save({CARD_KEY: card, "state_dict": state, "global_step": 6}, run.best)
        write_json(run.results, run.read_results() | {"params": count_parameters(net), "macs": 12345})


@pytest.fixture(autouse=True)
def _quick_timing(monkeypatch):
    monkeypatch.setattr(measurements, "_LONGEST_S", 1e-9)


@pytest.fixture(scope="session")
def celeba(tmp_path_factory) -> FaceStore:
    """Drawn faces of 32 px in a store called celeba, five of them for tests; read only."""
    return write_store(tmp_path_factory.mktemp("report_stores") / "celeba")


@pytest.fixture(scope="session")
def _bases(celeba) -> dict[str, DictConfig]:
    places = [f"data.store={celeba.path}", "data.name=celeba", "paths.runs=runs", "run_dir=somewhere"]
    names = ("student_celeba", "teacher_celeba")
    return {name: plain(compose("train", [f"experiment={name}", *TINY, *places])) for name in names}


@pytest.fixture
def make_run(_bases, celeba, tmp_path) -> RunMaker:
    """Writes run folders below `runs` of the test's folder."""
    return RunMaker(tmp_path / "runs", celeba, _bases)


@pytest.fixture(scope="session")
def _report_base() -> DictConfig:
    return plain(compose("report", ["runs=runs", "accelerator=cpu"]))


@pytest.fixture
def config(_report_base):
    """Returns a function that composes a report on `runs`."""
    return lambda *changes: OmegaConf.merge(_report_base, OmegaConf.from_dotlist(list(changes)))


def write_metrics(run: RunFolder, top: float, *terms: str, steps: int = 6) -> None:
    """Writes a metrics.csv as a training does: a line per logged step, another one per validation."""
    columns = ["train/loss/" + term for term in terms] + ["train/weight/" + term for term in terms]
    lines = ["epoch,step," + ",".join(columns) + ",val/psnr_y"]
    for step in range(steps):
        losses = [f"{1 / (1 + step + place)}" for place, _ in enumerate(terms)]
        weights = [f"{max(0.0, 1 - step * place / steps)}" for place, _ in enumerate(terms)]
        lines.append(f"0,{step}," + ",".join(losses + weights) + ",")
        if step % 3 == 2:
            lines.append(f"0,{step}," + "," * len(columns) + f"{top - 1 / (1 + step)}")
    run.metrics.write_text("\n".join(lines) + "\n")


HOSTILE = '<img src=x onerror="alert(1)">&amp;'
"""What a folder may be called."""


@pytest.fixture(scope="session")
def rich_report(_bases, celeba, tmp_path_factory, store):
    """A report of many kinds of runs on two test sets, one of them called HOSTILE; read only.

    A teacher and one without FFB, PKDN with two seeds, four other pairs of weights (one of them with two seeds), one
    with that other teacher, a student without distillation, and an unfinished run. The rows without metrics.csv are the
    teachers.
    """
    root = tmp_path_factory.mktemp("rich")
    make = RunMaker(root / "runs", celeba, _bases)
    teacher, other = make("teacher"), make("teacher_without", "model.ffb=false")
    for seed in (0, 1):
        write_metrics(make(f"pkdn{seed}", f"seed={seed}", teacher=teacher), 21 + seed, "sr", "ts", "fs")
    for ts, fs in ((0.0, 10.0), (1.0, 10.0), (0.1, 0.0), (1.0, 0.0)):
        run = make(f"weights_{ts}_{fs}", f"objective.ts.weight={ts}", f"objective.fs.weight={fs}", teacher=teacher)
        write_metrics(run, 20.5, "sr", "ts", "fs")
    make("weights_1.0_10.0_1", "seed=1", "objective.ts.weight=1.0", teacher=teacher)
    write_metrics(make("without", "teacher.model.ffb=false", teacher=other), 20, "sr", "ts", "fs")
    write_metrics(make(HOSTILE), 19, "sr")
    make("stopped" + HOSTILE, status="interrupted")
    cfg = plain(compose("report", [f"runs={root / 'runs'}", "accelerator=cpu", "faces=3"]))
    cfg.data.test_stores = {"celeba": str(celeba.path), HOSTILE: str(store.path)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "_LONGEST_S", 1e-9)
        return report(cfg)
