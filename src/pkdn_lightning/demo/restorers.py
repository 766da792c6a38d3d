"""The models of the page: one or two students, and a teacher with the source of its parsing maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.data.labels import Encoding
from pkdn_lightning.data.parsing import encode
from pkdn_lightning.demo.examples import known_map
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.faces.parser import BiSeNetParser, Parser
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.hardware import set_up
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.models.runtimes import Restorer, load_runtime
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.predict.models import Model, ModelSet, choose_models, fastest_form

if TYPE_CHECKING:
    from omegaconf import DictConfig

RESTORED: Final = "Restored"
"""What the included models together are called."""
_RESERVED: Final = ("LR", "Bicubic", "Teacher", "Original", "Parsing map")


class Student(NamedTuple):
    """Models that read LR faces only, with their common name on the page; the size of a face chooses among them."""

    name: str
    models: ModelSet


class Teacher:
    """A model that also reads the parsing map of the true face.

    Args:
        net: Takes `(lr, parsing)`.
        encoding: Encoding of the map.
        device: Where to compute.
    """

    def __init__(self, net: SRNetwork, encoding: Encoding, device: torch.device) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
        self.encoding: Encoding = encoding
        self.device = device

    @torch.inference_mode()
    def restore(self, lr: Tensor, parsing: Tensor) -> Tensor:
        """Returns (B, 3, H, W) from (B, 3, h, w) in [0, 1] and label ids (B, H, W)."""
        sr: Tensor = self.net(lr.to(self.device), encode(parsing.to(self.device), self.encoding)).sr
        return sr.float().cpu()


class Maps:
    """Provides parsing maps: the included ones of the examples, a parser's for other faces.

    Args:
        parser: The parser, if any.
    """

    def __init__(self, parser: Parser | None) -> None:
        self.parser = parser
        self._one_at_a_time = Lock()  # a parser changes torch's number of threads

    def of(self, hr: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Returns the map of a face (S, S, 3) as label ids (S, S); None if there is none."""
        exact = known_map(hr)
        if exact is not None or self.parser is None:
            return exact
        with self._one_at_a_time:
            found = self.parser.parse(["uploaded"], [hr])[0]
        return None if isinstance(found, Rejected) else found


@dataclass(frozen=True)
class Models:
    """The models of the page.

    Attributes:
        students: One; or two single models with the same LR and HR sizes.
        teacher: The teacher, if any.
        maps: Parsing maps for the teacher.
        device: The device of all models.
    """

    students: Sequence[Student]
    teacher: Teacher | None = None
    maps: Maps = field(default_factory=lambda: Maps(None))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> ModelSet:
        """The models of the first student."""
        return self.students[0].models

    def all(self) -> list[Model]:
        """Returns every model that may restore a face."""
        found = {id(each): each for student in self.students for each in (*student.models.small, *student.models.photo)}
        return list(found.values())


def load_models(cfg: "DictConfig") -> Models:
    """Returns the models of a configuration.

    Raises:
        CheckpointError: If one of them cannot be loaded.
        ConfigError: If they do not match.
    """
    device = set_up(threads=cfg.threads, accelerator=cfg.accelerator)
    options = {key: cfg[key] for key in ("runtime", "precision", "accelerator", "threads", "trust")}

    def load(name: str) -> Restorer:
        return load_runtime(name, **options)

    if not (cfg.other or cfg.teacher or cfg.parser):
        models = choose_models(cfg.model, load, partial(fastest_form, cfg=cfg))
        return Models([Student(_name(models.small[0].name, []) if models.named else RESTORED, models)], device=device)
    restorers = [load(cfg[key]) for key in ("model", "other") if cfg[key]]
    first, last = restorers[0], restorers[-1]
    if (last.lr_px, last.hr_px) != (first.lr_px, first.hr_px):
        raise ConfigError(
            f"model={cfg.model} restores {first.lr_px} px to {first.hr_px} px, other={cfg.other} "
            f"{last.lr_px} px to {last.hr_px} px. Only models of the same sizes can be compared."
        )
    students: list[Student] = []
    for restorer in restorers:
        models = ModelSet.of(restorer)
        students.append(Student(_name(models.small[0].name, students), models))
    teacher = _teacher(cfg.teacher, first, device) if cfg.teacher else None
    parser = BiSeNetParser(weights=cfg.parser, device=device.type, threads=cfg.threads) if cfg.parser else None
    if parser is not None and teacher is None:
        raise ConfigError("parser= makes maps for a teacher, but teacher= is not set. Set both or neither.")
    return Models(students, teacher, Maps(parser), device)


def _name(name: str, others: Sequence[Student]) -> str:
    """Returns a name for a model that is unique on the page."""
    taken = [*_RESERVED, *(student.name for student in others)]
    return name if name not in taken else f"{name} ({len(others) + 1})"


def _teacher(path: str, student: Restorer, device: torch.device) -> Teacher:
    loaded = load_network(path)
    if not loaded.net.uses_parsing:
        raise ConfigError(
            f"teacher={path} is a {type(loaded.net).__name__}, which reads no parsing maps. To compare it with the "
            f"model: other={path}"
        )
    if int(loaded.card["scale"]) != student.scale:
        raise ConfigError(
            f"teacher={path} has scale {loaded.card['scale']}, the model {student.scale}. Set a teacher of the "
            "same scale."
        )
    return Teacher(loaded.net, loaded.card["encoding"], device)
