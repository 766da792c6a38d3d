"""Measures methods on the faces of a store; shared by the verbs `evaluate` and `report`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pkdn_lightning.console import console, progress
from pkdn_lightning.data.batches import (
    Batch,
    OrderedBatchSampler,
    Plan,
    StoreDataset,
    fixed_plan,
    prepare_batch,
    prepare_parsing,
)
from pkdn_lightning.data.blind import Blind, make_blind
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.data.labels import Damage
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.data.strengths import ROUNDS
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.metrics import HEADLINE, PROTOCOLS, quality
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.networks.cost import count_parameters

BICUBIC = "bicubic"


class Method(NamedTuple):
    """A method of face restoration.

    Attributes:
        name: Its row in the table.
        restore: Returns SR (B, 3, H, W) for a batch.
        encoding: Encoding of its parsing maps, or None if it reads none.
        params: Number of trainable parameters.
        origin: Path and SHA-256 of the checkpoint, or None.
        damage: Kind and size in pixels of the damage applied to its parsing maps, as in training.
    """

    name: str
    restore: Callable[[Batch], Tensor]
    encoding: str | None = None
    params: int = 0
    origin: Mapping[str, str] | None = None
    damage: tuple[Damage, int] = ("none", 8)


class InputSpec(NamedTuple):
    """The input that is the same for every method.

    Attributes:
        split: Split of the store.
        scale: Ratio of HR to LR size.
        degradation: What makes LR from HR; see `data.degradation.degrade`.
        batch_size: Faces per batch.
        blind: Strengths of a blind degradation; see `data.strengths`.
    """

    split: str
    scale: int
    degradation: str
    batch_size: int
    blind: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any], split: str, batch_size: int) -> "InputSpec":
        """Returns the input that the section `data` of a configuration describes."""
        blind = data["blind"] if data["degradation"] in ROUNDS else None
        return cls(split, data["scale"], data["degradation"], batch_size, blind)

    def plans(self, store: FaceStore) -> OrderedBatchSampler:
        """Returns the batches of the split, each face with its fixed degradation."""
        return OrderedBatchSampler(store.indices(self.split), self.batch_size, blind=self._blind(store))

    def plan(self, store: FaceStore, rows: NDArray[np.int64]) -> Plan:
        """Returns a batch of some faces, each with its fixed degradation."""
        return fixed_plan(rows, self._blind(store))

    def _blind(self, store: FaceStore) -> Blind | None:
        return make_blind(self.degradation, self.blind, self.scale, store.size_px)


def bicubic_method(scale: int) -> Method:
    """Returns bicubic interpolation, the baseline of every table."""
    return Method(BICUBIC, lambda batch: enlarge(batch["lr"], scale))


def network_method(name: str, path: str, spec: InputSpec, device: torch.device) -> Method:
    """Returns the method of a run or checkpoint.

    If training or evaluation is blind, they may differ: how a network restores what it was not trained for is a
    question of its own. A message says so.

    Raises:
        CheckpointError: If it cannot be loaded.
        ConfigError: If it was trained for another scale, or for another degradation and neither is blind.
    """
    loaded = load_network(path)
    trained = {key: loaded.card.get(key) for key in ("degradation", "blind")}
    blind = trained["degradation"] in ROUNDS or spec.degradation in ROUNDS
    if blind and trained != {"degradation": spec.degradation, "blind": spec.blind}:
        other = " of other strengths" * (trained["degradation"] == spec.degradation)
        console.print(
            f"{name} was trained with degradation={trained['degradation']}{other}, and is measured with "
            f"degradation={spec.degradation}."
        )
    for key, value in ({"scale": spec.scale} | ({} if blind else {"degradation": spec.degradation})).items():
        if loaded.card[key] != value:
            raise ConfigError(
                f"'{name}' ({path}) was trained with data.{key}={loaded.card[key]}, but this evaluation uses "
                f"{value}. Set data.{key}={loaded.card[key]}."
            )
    net = loaded.net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
    return Method(
        name,
        lambda batch: net(*net.inputs(batch)).sr,
        loaded.card["encoding"] if net.uses_parsing else None,
        count_parameters(net),
        {"path": str(loaded.path), "sha256": loaded.sha256},
        (loaded.card.get("parsing_damage", "none"), loaded.card.get("parsing_damage_px", 8)),
    )


def check_parsing(methods: Sequence[Method], store: FaceStore) -> None:
    """Checks that a store has parsing maps if a method reads them.

    Raises:
        DataError: If it has none.
    """
    readers = [method.name for method in methods if method.encoding]
    if readers and store.parsing is None:
        raise DataError(
            f"{store.path} has no parsing maps, and {', '.join(readers)} cannot restore a face without one. "
            "Evaluate on a store with maps, or remove these models."
        )


@torch.inference_mode()
def measure(
    methods: Sequence[Method],
    store: FaceStore,
    spec: InputSpec,
    protocols: Sequence[str],
    device: torch.device,
    title: str = "",
    perceptual_metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a row per method and face: `method`, `face`, and its metrics.

    Args:
        methods: The methods to measure.
        store: The store of the faces.
        spec: Split, degradation and batch size.
        protocols: Names of the protocols.
        device: Where to compute.
        title: Title of the progress bar; the store's name and split if empty.
        perceptual_metrics: Further metrics by name; see `perceptual_metrics`.
    """
    plans = spec.plans(store)
    for plan in progress(plans, title or f"Measuring {store.name}/{spec.split}", len(plans)):
        raw = gather(store, plan, device)
        measured = []
        inputs = Inputs(raw, spec)
        for method in methods:
            batch = inputs.of(method)
            sr = method.restore(batch)
            values = psnr_and_ssim(sr, batch["hr"], protocols)
            values |= {name: metric(sr, batch["hr"]) for name, metric in (perceptual_metrics or {}).items()}
            measured.append(values)
        for method, numbers in zip(methods, _on_host(measured), strict=True):
            for number, row in enumerate(plan.row):
                yield {"method": method.name, "face": store.entries[row].name} | {
                    key: value[number] for key, value in numbers.items()
                }


def _on_host(measured: Sequence[Mapping[str, Tensor]]) -> list[dict[str, list[float]]]:
    """Returns the values of a batch as numbers, in one transfer: each makes the host wait for the device."""
    flat = [value for values in measured for value in values.values()]
    moved = [value for value in flat if value.device.type != "cpu"]
    table = iter(torch.stack(moved).tolist() if moved else [])
    rows = iter([next(table) if value.device.type != "cpu" else value.tolist() for value in flat])
    return [{key: next(rows) for key in values} for values in measured]


def psnr_and_ssim(sr: Tensor, hr: Tensor, protocols: Sequence[str]) -> dict[str, Tensor]:
    """Returns PSNR and SSIM of each image under each protocol, (B,) float64 by metric key."""
    found: dict[str, Tensor] = {}
    for name, both in zip(protocols, quality(sr, hr, [PROTOCOLS[name] for name in protocols]), strict=True):
        suffix = "y" if name == HEADLINE.name else name
        found |= {f"psnr_{suffix}": both.psnr, f"ssim_{suffix}": both.ssim}
    return found


def gather(store: FaceStore, plan: Plan, device: torch.device) -> dict[str, Tensor]:
    """Returns the faces of a plan on the device, as they are stored, with what was drawn for them."""
    return {key: value.to(device) for key, value in StoreDataset(store)[plan].items()}


class Inputs:
    """What methods read of the same faces. LR is made once, and each kind of parsing maps once.

    Args:
        raw: Gathered faces; see `gather`.
        spec: Split, degradation and batch size.
    """

    def __init__(self, raw: Mapping[str, Tensor], spec: InputSpec) -> None:
        self._maps = {"parsing": raw["parsing"], "row": raw["row"]} if "parsing" in raw else {}
        faces = {name: value for name, value in raw.items() if name != "parsing"}
        self._faces = prepare_batch(faces, scale=spec.scale, degradation=spec.degradation, encoding="colour")
        self._made: dict[tuple[Any, ...], Tensor] = {}

    def of(self, method: Method, *, parsing: bool = False) -> Batch:
        """Returns the batch of a method, with its parsing maps if it reads them, or if `parsing` asks for them."""
        if not (self._maps and (method.encoding or parsing)):
            return self._faces
        key = (method.encoding or "colour", *method.damage)
        if key not in self._made:
            self._made[key] = prepare_parsing(self._maps, *key)  # type: ignore[arg-type]  # checked at training
        return {**self._faces, "parsing": self._made[key]}


def describe(name: str) -> str:
    """Returns a description of a protocol for users."""
    protocol = PROTOCOLS[name]
    rounding = "8-bit" if protocol.rounded else "unrounded"
    return f"{name}: {protocol.channel.upper()}, border {protocol.border_px}, {rounding}, per image then mean"
