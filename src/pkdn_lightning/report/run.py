"""A finished run, and the trained networks that it learned from or began with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import DataError
from pkdn_lightning.file_schema import check_contents
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.report.methods import method_name
from pkdn_lightning.report.run_config import completed, known_network, read_config
from pkdn_lightning.report.settings import START, Settings, settings
from pkdn_lightning.runs import RunFolder

_COUNT: Final = range(2**62)
_RESULTS: Final = {
    "data": {"name": str, "sha256": str}, "params": _COUNT, "macs": _COUNT, "steps": _COUNT, "metrics": {str: float},
    "teacher?": ({"path": str, "sha256": str}, None), "git?": ({"commit": str}, None), "command?": str,
}  # fmt: skip
"""What is read of a results.json; see `file_schema`."""


@dataclass(frozen=True)
class Source:
    """A trained network that a run began with: its teacher, or what its first weights were copied from."""

    network: Mapping[str, Any]  # `_target_` and arguments; empty if unknown
    settings: Settings  # what tells its training from another, as far as it is known; see `of_source`
    place: Path  # its run folder, or its file where it lies in none
    content: str  # tells it from other networks: the checkpoint's hash, or what it was named by
    seed: int | None  # of its training; None if unknown
    known: bool = False  # whether its configuration was read
    folder: Path | None = None  # its run folder, if it is among the reported runs


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: RunFolder
    config: Mapping[str, Any]  # resolved, completed with today's defaults
    results: Mapping[str, Any]  # its results.json
    checkpoint: Path  # the one that validated best; the last one where none was chosen
    sha256: str  # the checkpoint's hash
    teacher: Source | None = None  # what it was distilled from
    start: Source | None = None  # what its first weights were copied from; the teacher itself, if they are its weights

    @property
    def method(self) -> str:
        """Name of the method: network and training scheme."""
        return method_name(self.config, self.teacher.network if self.teacher else None)

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.config["seed"])

    @property
    def validation(self) -> float:
        """PSNR on the validation split, in dB, at the best checkpoint; -inf if it was not measured."""
        metrics = self.results.get("metrics", {})
        return float(metrics.get("best/val/psnr_y", metrics.get("val/psnr_y", float("-inf"))))

    @property
    def batch(self) -> int:
        """Faces per step, as far as the configuration tells the number of devices."""
        trainer = self.config["trainer"]
        devices = trainer["devices"] if isinstance(trainer["devices"], int) and trainer["devices"] > 0 else 1
        batch = self.config["data"]["batch_size"] * trainer["accumulate_grad_batches"]
        return int(batch * devices * trainer["num_nodes"])

    @property
    def faces_seen(self) -> int:
        """Faces in all steps together."""
        return int(self.results["steps"]) * self.batch

    @property
    def settings(self) -> Settings:
        """What it shares with the same training under another seed."""
        teacher = self.teacher.settings if self.teacher else None
        start = self.start.settings if self.start and self.start is not self.teacher else None
        found = settings(self.config, data=self.results["data"], teacher=teacher, start=start)
        from_teacher = {START: "teacher"} if self.start and start is None else {}
        return found._replace(values={**found.values, **from_teacher})

    @property
    def reads_parsing(self) -> bool:
        """Whether its network takes the parsing map of the face as a second input."""
        network = known_network(self.config["model"])
        return network is not None and network.uses_parsing

    def open_store(self) -> FaceStore | None:
        """Opens the store that the run was trained on; None if it is gone, or now holds other data."""
        try:
            store = FaceStore.open(self.config["data"]["store"], verify=False)
        except (DataError, OSError):
            return None
        return store if store.sha256 == self.results["data"]["sha256"] else None


def read_run(folder: RunFolder) -> Run:
    """Returns a finished run, whose checkpoint loads.

    Raises:
        DataError: If its record or its configuration lacks something or holds a wrong value.
        CheckpointError: If its checkpoint is missing or damaged.
    """
    results = folder.read_results()
    check_contents(results, _RESULTS, "its results.json", DataError)
    config = read_config(folder)
    loaded = load_network(folder.path)
    if completed(loaded.card["network"]) != config["model"]:
        raise DataError("its config.yaml describes another network than its checkpoint")
    return Run(folder, config, results, loaded.path, loaded.sha256)
