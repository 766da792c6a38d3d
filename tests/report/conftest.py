"""Run folders made by hand: a few weights, a configuration and an outcome, in the time of a file's writing."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.checkpoints import CARD_KEY, build_network
from pkdn_lightning.config import compose
from pkdn_lightning.data.store import FaceStore, file_sha256
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.runs import RunFolder, write_json
from tests.conftest import TINY, write_store


def plain(cfg: DictConfig) -> DictConfig:
    """Returns a configuration without its schema: merging into it takes a tenth of the time."""
    return OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))


class RunMaker:
    """Writes run folders below a root."""

    def __init__(self, root: Path, store: FaceStore) -> None:
        self.root, self.store = root, store
        places = [f"data.store={store.path}", "data.name=celeba", "paths.runs=runs", "run_dir=somewhere"]
        self.bases = {
            name: plain(compose("train", [f"experiment={name}", *TINY, *places]))
            for name in ("student_celeba", "teacher_celeba")
        }

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
        net = build_network(network, run.config)
        card = {"network": network} | {key: cfg.data[key] for key in ("scale", "degradation", "encoding")}
        state = {f"net.{name}": value for name, value in net.state_dict().items()}
        run.checkpoints.mkdir(exist_ok=True)
        torch.save({CARD_KEY: card, "state_dict": state, "global_step": 6}, run.best)
        write_json(run.results, run.read_results() | {"params": count_parameters(net), "macs": 12345})


@pytest.fixture(scope="session")
def celeba(tmp_path_factory) -> FaceStore:
    """Drawn faces of 32 px in a store called celeba, five of them for tests; read only."""
    return write_store(tmp_path_factory.mktemp("report_stores") / "celeba")


@pytest.fixture(scope="session")
def _bases(tmp_path_factory, celeba) -> RunMaker:
    return RunMaker(tmp_path_factory.mktemp("bases"), celeba)


@pytest.fixture
def make_run(_bases, tmp_path) -> RunMaker:
    """Writes run folders below `runs` of the test's folder."""
    maker = object.__new__(RunMaker)
    maker.root, maker.store, maker.bases = tmp_path / "runs", _bases.store, _bases.bases
    return maker


@pytest.fixture(scope="session")
def _report_base() -> DictConfig:
    return plain(compose("report", ["runs=runs", "accelerator=cpu"]))


@pytest.fixture
def config(_report_base):
    """Returns a function that composes a report on `runs`."""
    return lambda *changes: OmegaConf.merge(_report_base, OmegaConf.from_dotlist(list(changes)))
