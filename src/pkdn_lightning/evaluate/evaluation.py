"""The steps of the verb `evaluate`, from configuration to results."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from pkdn_lightning.console import console
from pkdn_lightning.data.grids import face_columns, save_grid
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, did_you_mean
from pkdn_lightning.evaluate.measure import (
    BICUBIC,
    Inputs,
    InputSpec,
    Method,
    bicubic_method,
    check_parsing,
    describe,
    gather,
    measure,
    network_method,
)
from pkdn_lightning.evaluate.perceptual_metrics import make_perceptual_metrics
from pkdn_lightning.files import whole_file, write_json, write_text
from pkdn_lightning.hardware import full_float32, set_up
from pkdn_lightning.markdown import plain
from pkdn_lightning.metrics import PROTOCOLS
from pkdn_lightning.prepare.pipeline import ensure_store
from pkdn_lightning.runs import provenance


class Evaluation(NamedTuple):
    """The result of an evaluation.

    Attributes:
        folder: The folder of results, table and grids.
        means: Mean metrics by method and key, e.g. `means["bicubic"]["test/celeba/psnr_y"]`.
    """

    folder: Path
    means: Mapping[str, Mapping[str, float]]


@full_float32()
def run_evaluation(cfg: DictConfig) -> Evaluation:
    """Measures the models of `cfg`; see `evaluate.evaluate`."""
    for name in cfg.protocols:
        if name not in PROTOCOLS:
            raise ConfigError(
                f"Unknown protocol '{name}'.{did_you_mean(name, PROTOCOLS)} Known: {', '.join(PROTOCOLS)}"
            )
    if (path := cfg.models.get(BICUBIC, BICUBIC)) != BICUBIC:
        raise ConfigError(f"models.{BICUBIC}={path}: every table has a row of that name. Type: models.<name>={path}")
    device = set_up(threads=cfg.threads, accelerator=cfg.accelerator)
    data: Any = OmegaConf.to_container(cfg.data, resolve=True)
    spec = InputSpec.of(data, cfg.split, cfg.data.eval_batch_size)
    paths = dict(cfg.data.test_stores) or {cfg.data.name: cfg.data.store}
    if not cfg.data.test_stores:
        ensure_store(cfg.data)
    stores = {name: FaceStore.open(path, verify=cfg.data.verify) for name, path in paths.items()}
    networks = {name: path for name, path in cfg.models.items() if path != BICUBIC}  # already in the table
    methods = [
        bicubic_method(cfg.data.scale),
        *(network_method(name, path, spec, device) for name, path in networks.items()),
    ]
    perceptual_metrics = make_perceptual_metrics(cfg.extra, cfg.parser, console.print, device)
    folder = Path(cfg.run_dir)
    if (folder / "results.json").exists():
        console.print(f"The results of an earlier evaluation in {folder} will be replaced.")

    means: dict[str, dict[str, float]] = {method.name: {} for method in methods}
    rows: list[dict[str, Any]] = []
    for name, store in stores.items():
        check_parsing(methods, store)
        found = list(measure(methods, store, spec, cfg.protocols, device, perceptual_metrics=perceptual_metrics))
        found.sort(key=lambda row: list(means).index(row["method"]))  # faces stay in order; batches do not show
        rows += [{"set": name, **row} for row in found]
        for method in methods:
            own = [row for row in found if row["method"] == method.name]
            for key in (key for key in own[0] if key not in ("method", "face")):
                means[method.name][f"{cfg.split}/{name}/{key}"] = float(np.nanmean([row[key] for row in own]))
        _save_faces(methods, store, spec, cfg.faces_in_grid, device, folder / f"grid_{name}.png")

    _write(folder, cfg, spec, methods, stores, means, rows)
    console.print(*_tables(cfg, methods, means, list(stores)), *map(describe, cfg.protocols), sep="\n")
    console.print(f"Per-image values, grids and results: {folder}")
    return Evaluation(folder, means)


@torch.inference_mode()
def _save_faces(
    methods: Sequence[Method], store: FaceStore, spec: InputSpec, faces: int, device: torch.device, file: Path
) -> None:
    raw = gather(store, spec.plan(store, store.indices(spec.split)[:faces]), device)
    networks = [method for method in methods if method.name != BICUBIC]
    inputs = Inputs(raw, spec)
    shown = inputs.of(methods[0], parsing=True)
    restored = {method.name: method.restore(inputs.of(method)) for method in networks}
    save_grid(face_columns(shown, restored, spec.scale), file)


def _write(
    folder: Path,
    cfg: DictConfig,
    spec: InputSpec,
    methods: Sequence[Method],
    stores: Mapping[str, FaceStore],
    means: Mapping[str, Mapping[str, float]],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    with whole_file(folder / "per_image.csv") as whole, whole.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    results = provenance("evaluate", 0) | {
        **{key: value for key, value in spec._asdict().items() if key != "batch_size" and value is not None},
        "protocols": list(cfg.protocols),
        "tf32": {
            "matrix_products": torch.get_float32_matmul_precision() != "highest",
            "convolutions": torch.backends.cudnn.allow_tf32,
        },
        "data": {
            name: {"sha256": store.sha256, "faces": len(store.indices(cfg.split))} for name, store in stores.items()
        },
        "methods": {
            method.name: {"params": method.params, "checkpoint": method.origin, "metrics": means[method.name]}
            for method in methods
        },
    }
    write_json(folder / "results.json", results)
    lines = ["| method | params | " + " | ".join(map(plain, means[methods[0].name])) + " |"]
    lines.append("|---|---|" + "---|" * len(means[methods[0].name]))
    for method in methods:
        cells = " | ".join(f"{value:.4f}" for value in means[method.name].values())
        lines.append(f"| {plain(method.name)} | {_params(method)} | {cells} |")
    write_text(folder / "table.md", "\n".join(lines) + "\n")


def _tables(
    cfg: DictConfig, methods: Sequence[Method], means: Mapping[str, Mapping[str, float]], sets: Sequence[str]
) -> Iterator[Table]:
    """Yields the tables of each test set: one, or as many as its columns need on this terminal."""
    for name in sets:
        how = "" if cfg.data.degradation == "pil" else f", degradation {cfg.data.degradation}"
        title, prefix = f"{name}, {cfg.split}{how}", f"{cfg.split}/{name}/"
        keys = [key for key in means[methods[0].name] if key.startswith(prefix)]
        unlimited = console.options.update(max_width=10_000)
        while keys:
            tables = (_table(title, methods, means, keys[:end]) for end in range(len(keys), 1, -1))
            fitting = (table for table in tables if console.measure(table, options=unlimited).maximum <= console.width)
            table = next(fitting, None) or _table(title, methods, means, keys[:1])
            yield table
            keys = keys[len(table.columns) - 2 :]


def _table(
    title: str, methods: Sequence[Method], means: Mapping[str, Mapping[str, float]], keys: Sequence[str]
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("method", overflow="fold")  # never cut: the ends of names tell them apart
    table.add_column("params", justify="right", overflow="fold")
    for key in keys:
        table.add_column(key.split("/", 2)[-1], justify="right", overflow="fold")
    for method in methods:
        values = (f"{means[method.name][key]:.{3 if 'psnr' in key else 4}f}" for key in keys)
        table.add_row(method.name, _params(method), *values)
    return table


def _params(method: Method) -> str:
    return f"{method.params:,}" if method.params else "-"
