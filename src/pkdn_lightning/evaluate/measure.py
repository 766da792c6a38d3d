"""Measuring methods on the faces of a store: what the verbs `evaluate` and `report` share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from pkdn_lightning.data.datamodule import Batch, OrderedBatchSampler, Plan, StoreDataset, prepare_batch
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.data.parsing import Damage
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.functional.resize import Mode
from pkdn_lightning.metrics import HEADLINE, PROTOCOLS, quality
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.networks.cost import count_parameters

BICUBIC = "bicubic"


class Method(NamedTuple):
    """Something that restores faces.

    Attributes:
        name: Its row in the table.
        restore: Makes (B, 3, H, W) from a batch.
        encoding: How it wants parsing maps, or None if it reads none.
        params: Trainable values.
        origin: The checkpoint and its hash, or None.
        damage: What was done to its parsing maps when it was trained, and is done here: kind and size.
    """

    name: str
    restore: Callable[[Batch], Tensor]
    encoding: str | None = None
    params: int = 0
    origin: Mapping[str, str] | None = None
    damage: tuple[Damage, int] = ("none", 8)


class Serving(NamedTuple):
    """Which faces every method gets, and how.

    Attributes:
        split: The store's split.
        scale: Enlargement from LR to HR.
        degradation: How LR comes from HR.
        batch_size: Faces at a time.
    """

    split: str
    scale: int
    degradation: Mode
    batch_size: int


def bicubic_method(scale: int) -> Method:
    """Returns the floor of every table."""
    return Method(BICUBIC, lambda batch: enlarge(batch["lr"], scale))


def network_method(name: str, path: str, *, scale: int, degradation: str, device: torch.device) -> Method:
    """Returns the method that a run or checkpoint holds.

    Raises:
        CheckpointError: If it cannot be loaded.
        ConfigError: If it was trained for another scale or degradation than is to be measured.
    """
    loaded = load_network(path)
    for key, value in {"scale": scale, "degradation": degradation}.items():
        if loaded.card[key] != value:
            raise ConfigError(
                f"'{name}' ({path}) was trained with data.{key}={loaded.card[key]}, and is to be measured with "
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
    """Checks that a store has what the methods read.

    Raises:
        DataError: If one of them reads parsing maps and the store has none.
    """
    readers = [method.name for method in methods if method.encoding]
    if readers and store.parsing is None:
        raise DataError(
            f"{store.path} has no parsing maps, and {', '.join(readers)} cannot restore a face without one. "
            "Evaluate on a store with maps, or leave the teacher out."
        )


@torch.inference_mode()
def measure(
    methods: Sequence[Method],
    store: FaceStore,
    serving: Serving,
    protocols: Sequence[str],
    device: torch.device,
    title: str = "",
    perceptual_metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields a row per method and face: `method`, `face`, and the values of `measures`.

    Args:
        methods: What restores the faces.
        store: Where they come from.
        serving: Which of them, and how they are fed.
        protocols: Names of what is measured.
        device: Where to compute.
        title: What the progress bar says; the store's name and split if empty.
        perceptual_metrics: Further measures by name; see `perceptual_metrics`.
    """
    plans = OrderedBatchSampler(store.indices(serving.split), serving.batch_size)
    title = title or f"measuring {store.name}/{serving.split}"
    for plan in track(plans, title, total=len(plans), transient=True):
        raw = gather(store, plan.row, device)
        for method in methods:
            batch = serve(raw, serving, method)
            sr = method.restore(batch)
            values = measures(sr, batch["hr"], protocols)
            values |= {name: judge(sr, batch["hr"]) for name, judge in (perceptual_metrics or {}).items()}
            for number, row in enumerate(plan.row):
                yield {"method": method.name, "face": store.entries[row].name} | {
                    key: float(value[number]) for key, value in values.items()
                }


def measures(sr: Tensor, hr: Tensor, protocols: Sequence[str]) -> dict[str, Tensor]:
    """Returns PSNR and SSIM of each image under each protocol, (B,) float64 by metric key."""
    found: dict[str, Tensor] = {}
    for name, both in zip(protocols, quality(sr, hr, [PROTOCOLS[name] for name in protocols]), strict=True):
        suffix = "y" if name == HEADLINE.name else name
        found |= {f"psnr_{suffix}": both.psnr, f"ssim_{suffix}": both.ssim}
    return found


def gather(store: FaceStore, rows: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
    """Returns faces of a store on the device, not yet finished for a method."""
    plan = Plan(rows, np.zeros(len(rows), dtype=np.bool_))
    return {key: value.to(device) for key, value in StoreDataset(store)[plan].items()}


def serve(raw: Mapping[str, Tensor], serving: Serving, method: Method) -> Batch:
    """Returns gathered faces as a method wants them."""
    return prepare_batch(
        raw,
        scale=serving.scale,
        degradation=serving.degradation,
        encoding=method.encoding or "colour",  # type: ignore[arg-type]  # the checkpoint's own, checked when trained
        parsing_damage=method.damage[0],
        parsing_damage_px=method.damage[1],
    )


def describe(name: str) -> str:
    """Returns what a protocol compares, in words."""
    protocol = PROTOCOLS[name]
    rounding = "8-bit" if protocol.rounded else "unrounded"
    return f"{name}: {protocol.channel.upper()}, border {protocol.border_px}, {rounding}, per image then mean"
