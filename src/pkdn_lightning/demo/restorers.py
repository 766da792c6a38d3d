"""What restores faces on the page: one student or two, and a teacher with somebody who draws its parsing maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.data.parsing import Encoding, encode
from pkdn_lightning.demo.examples import known_map
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.faces.parser import BiSeNetParser, Parser
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.hardware import set_up
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.models.runtimes import Precision, Restorer, load_runtime
from pkdn_lightning.networks.contract import SRNetwork

if TYPE_CHECKING:
    from omegaconf import DictConfig

_RESERVED = ("LR", "Bicubic", "Teacher", "Original", "Parsing map")


class Student(NamedTuple):
    """A model that sees the low-resolution face alone.

    Attributes:
        name: What the page calls it.
        restorer: What it does.
    """

    name: str
    restorer: Restorer


class Teacher:
    """A model that sees the true face's parsing map as well.

    Args:
        net: Takes `(lr, parsing)`.
        encoding: How it wants the map.
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
    """Draws parsing maps: exactly of the drawn examples, by a parser of other faces.

    Args:
        parser: None if there is none.
    """

    def __init__(self, parser: Parser | None) -> None:
        self.parser = parser
        self._one_at_a_time = Lock()  # a parser sets torch's threads while it works

    def of(self, hr: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Returns the map of a face (S, S, 3) as label ids (S, S); None if nobody can draw it."""
        exact = known_map(hr)
        if exact is not None or self.parser is None:
            return exact
        with self._one_at_a_time:
            found = self.parser.parse(["uploaded"], [hr])[0]
        return None if isinstance(found, Rejected) else found


@dataclass(frozen=True)
class Models:
    """Everything that restores faces on the page.

    Attributes:
        students: One or two, all with the same sizes.
        teacher: None if there is none.
        maps: What the teacher needs.
        device: Where all of them compute.
    """

    students: Sequence[Student]
    teacher: Teacher | None = None
    maps: Maps = field(default_factory=lambda: Maps(None))
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> Restorer:
        """The restorer whose sizes count."""
        return self.students[0].restorer


def load_models(cfg: "DictConfig") -> Models:
    """Returns the models that a configuration of the verb names.

    Raises:
        CheckpointError: If one of them cannot be loaded.
        ConfigError: If they do not fit together.
    """
    device = set_up(threads=cfg.threads, accelerator=cfg.accelerator)
    students: list[Student] = []
    for key in ("model", "other"):
        if cfg[key]:
            restorer = load_runtime(cfg[key], runtime=cfg.runtime, precision=_precision(cfg), device=device)
            students.append(Student(_name(restorer, students), restorer))
    first = students[0].restorer
    for student in students[1:]:
        restorer = student.restorer
        if (restorer.lr_px, restorer.hr_px) != (first.lr_px, first.hr_px):
            raise ConfigError(
                f"model={cfg.model} makes {first.hr_px} px of {first.lr_px} px, other={cfg.other} {restorer.hr_px} px "
                f"of {restorer.lr_px} px. Faces can only be compared between models of the same sizes."
            )
    teacher = _teacher(cfg.teacher, first, device) if cfg.teacher else None
    parser = BiSeNetParser(weights=cfg.parser, device=device.type, threads=cfg.threads) if cfg.parser else None
    if parser is not None and teacher is None:
        raise ConfigError("parser= draws maps for a teacher, and teacher= is not set. Set both, or neither.")
    return Models(students, teacher, Maps(parser), device)


def _precision(cfg: "DictConfig") -> Precision:
    return cfg.precision  # load_runtime checks it


def _name(restorer: Restorer, others: Sequence[Student]) -> str:
    """Returns what a model is called, so that no two things on the page are called the same."""
    name = str(restorer.card.get("experiment") or restorer.path.stem)
    taken = [*_RESERVED, *(student.name for student in others)]
    return name if name not in taken else f"{name} ({len(others) + 1})"


def _teacher(path: str, student: Restorer, device: torch.device) -> Teacher:
    loaded = load_network(path)
    if not loaded.net.uses_parsing:
        raise ConfigError(
            f"teacher={path} is a {type(loaded.net).__name__}, which reads no parsing map. To compare it with the "
            f"model: other={path}"
        )
    if int(loaded.card["scale"]) != student.scale:
        raise ConfigError(
            f"teacher={path} enlarges {loaded.card['scale']} times, the model {student.scale} times. They cannot be "
            "compared."
        )
    return Teacher(loaded.net, loaded.card["encoding"], device)
