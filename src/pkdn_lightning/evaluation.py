"""One evaluation from its configuration to its table: the plot of the verb `evaluate`."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from pkdn_lightning.checkpoints import load_network
from pkdn_lightning.data.datamodule import Batch, GatheredBatches, OrderedPlans, finish_batch
from pkdn_lightning.data.degradation import enlarge
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError, did_you_mean
from pkdn_lightning.grids import face_columns, save_grid
from pkdn_lightning.metrics import HEADLINE, PROTOCOLS, psnr, ssim
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.runs import provenance, write_json

BICUBIC = "bicubic"


class Method(NamedTuple):
    """Something that restores faces.

    Attributes:
        name: Its row in the table.
        restore: Makes (B, 3, H, W) from a batch.
        encoding: How it wants parsing maps, or None if it reads none.
        params: Trainable values.
        origin: The checkpoint and its hash, or None.
    """

    name: str
    restore: Callable[[Batch], Tensor]
    encoding: str | None = None
    params: int = 0
    origin: Mapping[str, str] | None = None


class Evaluation(NamedTuple):
    """What an evaluation found.

    Attributes:
        folder: Where results, table and grids are.
        means: `means[method]["test/celeba/psnr_y"]` and so on.
    """

    folder: Path
    means: Mapping[str, Mapping[str, float]]


def run_evaluation(cfg: DictConfig) -> Evaluation:
    """Measures what `cfg` names; see `evaluate.evaluate`."""
    for name in cfg.protocols:
        if name not in PROTOCOLS:
            raise ConfigError(
                f"Unknown protocol '{name}'.{did_you_mean(name, PROTOCOLS)} Known: {', '.join(PROTOCOLS)}"
            )
    device = _device(cfg.accelerator)
    paths = dict(cfg.data.test_stores) or {cfg.data.name: cfg.data.store}
    stores = {name: FaceStore.open(path, verify=cfg.data.verify) for name, path in paths.items()}
    methods = [bicubic_method(cfg.data.scale), *_named_methods(cfg, device)]
    folder = Path(cfg.run_dir)

    means: dict[str, dict[str, float]] = {method.name: {} for method in methods}
    rows: list[dict[str, Any]] = []
    for name, store in stores.items():
        _check_parsing(methods, store)
        found = list(_measure(methods, store, cfg, device))
        rows += [{"set": name, **row} for row in found]
        for method in methods:
            own = [row for row in found if row["method"] == method.name]
            for key in (key for key in own[0] if key not in ("method", "face")):
                means[method.name][f"{cfg.split}/{name}/{key}"] = float(np.mean([row[key] for row in own]))
        _save_faces(methods, store, cfg, device, folder / f"grid_{name}.png")

    _write(folder, cfg, methods, stores, means, rows)
    console = Console()
    console.print(*_tables(cfg, methods, means, list(stores)), *map(_describe, cfg.protocols), sep="\n")
    console.print(f"Per-image values, grids and results: [bold]{folder}[/]", soft_wrap=True)
    return Evaluation(folder, means)


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
    reads_parsing = bool(getattr(net, "uses_parsing", False))

    def restore(batch: Batch) -> Tensor:
        sr: Tensor = (net(batch["lr"], batch["parsing"]) if reads_parsing else net(batch["lr"])).sr
        return sr

    return Method(
        name,
        restore,
        loaded.card["encoding"] if reads_parsing else None,
        count_parameters(net),
        {"path": str(loaded.path), "sha256": loaded.sha256},
    )


def _named_methods(cfg: DictConfig, device: torch.device) -> Iterator[Method]:
    for name, path in cfg.models.items():
        if path == BICUBIC or name == BICUBIC:
            continue  # it is in every table anyway
        yield network_method(name, path, scale=cfg.data.scale, degradation=cfg.data.degradation, device=device)


def _check_parsing(methods: Sequence[Method], store: FaceStore) -> None:
    readers = [method.name for method in methods if method.encoding]
    if readers and store.parsing is None:
        raise DataError(
            f"{store.path} has no parsing maps, and {', '.join(readers)} cannot restore a face without one. "
            "Evaluate on a store with maps, or leave the teacher out."
        )


@torch.inference_mode()
def _measure(
    methods: Sequence[Method], store: FaceStore, cfg: DictConfig, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Yields a row per method and face."""
    plans = OrderedPlans(store.indices(cfg.split), cfg.data.eval_batch_size)
    for plan in track(plans, f"measuring {store.name}/{cfg.split}", total=len(plans), transient=True):
        raw = {key: value.to(device) for key, value in GatheredBatches(store)[plan].items()}
        for method in methods:
            batch = _finish(raw, cfg, method)
            values = measures(method.restore(batch), batch["hr"], cfg.protocols)
            for number, row in enumerate(plan.row):
                yield {"method": method.name, "face": store.entries[row].name} | {
                    key: float(value[number]) for key, value in values.items()
                }


def measures(sr: Tensor, hr: Tensor, protocols: Sequence[str]) -> dict[str, Tensor]:
    """Returns PSNR and SSIM of each image under each protocol, (B,) float64 by metric key."""
    found: dict[str, Tensor] = {}
    for name in protocols:
        suffix = "y" if name == HEADLINE.name else name
        found[f"psnr_{suffix}"] = psnr(sr, hr, PROTOCOLS[name])
        found[f"ssim_{suffix}"] = ssim(sr, hr, PROTOCOLS[name])
    return found


def _finish(raw: Mapping[str, Tensor], cfg: DictConfig, method: Method) -> Batch:
    return finish_batch(
        raw,
        scale=cfg.data.scale,
        degradation=cfg.data.degradation,
        encoding=method.encoding or "colour",  # type: ignore[arg-type]  # the checkpoint's own, checked when trained
    )


@torch.inference_mode()
def _save_faces(methods: Sequence[Method], store: FaceStore, cfg: DictConfig, device: torch.device, file: Path) -> None:
    plan = next(iter(OrderedPlans(store.indices(cfg.split), cfg.faces_in_grid)))
    raw = {key: value.to(device) for key, value in GatheredBatches(store)[plan].items()}
    restored = {method.name: method.restore(_finish(raw, cfg, method)) for method in methods if method.name != BICUBIC}
    save_grid(face_columns(_finish(raw, cfg, methods[0]), restored, cfg.data.scale), file)


def _write(
    folder: Path,
    cfg: DictConfig,
    methods: Sequence[Method],
    stores: Mapping[str, FaceStore],
    means: Mapping[str, Mapping[str, float]],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    with (folder / "per_image.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    results = provenance("evaluate", 0) | {
        "split": cfg.split,
        "protocols": list(cfg.protocols),
        "data": {
            name: {"sha256": store.sha256, "faces": len(store.indices(cfg.split))} for name, store in stores.items()
        },
        "methods": {
            method.name: {"params": method.params, "checkpoint": method.origin, "metrics": means[method.name]}
            for method in methods
        },
    }
    write_json(folder / "results.json", results)
    lines = ["| method | params | " + " | ".join(means[methods[0].name]) + " |"]
    lines.append("|---|---|" + "---|" * len(means[methods[0].name]))
    for method in methods:
        cells = " | ".join(f"{value:.4f}" for value in means[method.name].values())
        lines.append(f"| {method.name} | {method.params:,} | {cells} |")
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _tables(
    cfg: DictConfig, methods: Sequence[Method], means: Mapping[str, Mapping[str, float]], sets: Sequence[str]
) -> Iterator[Table]:
    """Yields a table per test set, so that each fits a terminal."""
    for name in sets:
        table = Table(title=f"{name}, {cfg.split}", title_justify="left")
        table.add_column("method")
        table.add_column("params", justify="right")
        prefix = f"{cfg.split}/{name}/"
        keys = [key for key in means[methods[0].name] if key.startswith(prefix)]
        for key in keys:
            table.add_column(key.removeprefix(prefix), justify="right")
        for method in methods:
            values = (f"{means[method.name][key]:.{3 if 'psnr' in key else 4}f}" for key in keys)
            table.add_row(method.name, f"{method.params:,}" if method.params else "-", *values)
        yield table


def _describe(name: str) -> str:
    protocol = PROTOCOLS[name]
    rounding = "8-bit" if protocol.rounded else "unrounded"
    return f"{name}: {protocol.channel.upper()}, border {protocol.border_px}, {rounding}, per image then mean"


def _device(accelerator: str) -> torch.device:
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ConfigError("accelerator=gpu, but there is none here. Use accelerator=cpu or auto.")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
