"""The steps of the verb `export`, from configuration to checked files."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from omegaconf import DictConfig
from rich.table import Table

from pkdn_lightning.console import console
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError, did_you_mean
from pkdn_lightning.export.comparison import Check, Faces, check, check_faces, restore
from pkdn_lightning.export.graphs import OPSET, trace, write_onnx, write_pt2
from pkdn_lightning.export.quantize import expected_loss_db, quantise
from pkdn_lightning.files import read_json, write_json
from pkdn_lightning.hardware import set_up
from pkdn_lightning.models.checkpoints import LoadedNetwork, load_network
from pkdn_lightning.models.hub import push_to_hub, save_pretrained
from pkdn_lightning.models.model_card import with_provenance
from pkdn_lightning.models.onnx_int8 import check_onnx
from pkdn_lightning.models.pretrained import WEIGHTS
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.models.torch_runtimes import fixed_size
from pkdn_lightning.runs import provenance

FILES: Final[Mapping[str, str]] = {
    "safetensors": WEIGHTS, "pt2": "model.pt2", "onnx": "model.onnx", "int8": "model.int8.onnx",
}  # fmt: skip
"""The file of each format."""

RECORD: Final = "export.json"
_UNFINISHED: Final = ".unfinished.json"
"""Names the files of an export until it is complete, so that one that was killed or failed can be repeated."""


class Export(NamedTuple):
    """The result of an export.

    Attributes:
        folder: The folder of the files.
        checks: Comparison of each format with the original.
    """

    folder: Path
    checks: Mapping[str, Check]


def run_export(cfg: DictConfig) -> Export:
    """Writes and checks the formats of `cfg`; see `export.export`."""
    set_up(threads=cfg.threads, accelerator="cpu")
    loaded = with_provenance(load_network(cfg.model))
    _check(cfg, loaded)
    if loaded.net.uses_parsing:
        folder = _open(cfg, loaded)
        save_pretrained(cfg.model, folder)
        (folder / _UNFINISHED).unlink()
        console.print(f"Wrote {folder / WEIGHTS} and its model card. Not checked: the model reads parsing maps.")
        return Export(folder, {})
    original = load_runtime(cfg.model, runtime="torch", threads=cfg.threads)
    faces = check_faces(cfg.store, cfg.split, cfg.faces, original)
    lr, hr, source = faces.lr, faces.hr, faces.source
    if "int8" in cfg.formats and len(faces.calibration) < 2:
        raise DataError(
            f"int8 needs faces to calibrate and other faces to check; found {len(faces.calibration)}. Set faces=64."
        )
    expected = restore(original, lr)
    folder = _open(cfg, loaded)
    notes = _write(cfg, loaded, folder, faces)
    checks = {
        # This process wrote the files, hence trust=True.
        name: check(load_runtime(folder / FILES[name], threads=cfg.threads, trust=True), lr, hr, expected)
        for name in FILES
        if name in cfg.formats
    }
    checks = {"original": check(original, lr, hr, expected), **checks}
    _record(folder, loaded, checks, notes, source)
    (folder / _UNFINISHED).unlink()
    console.print(_table(folder, checks, source))
    for note in notes.values():
        console.print(note)
    console.print(f"Files, model card and {RECORD}: {folder}. To use one: pkdn predict model=<file>")
    if cfg.push_to:
        page = push_to_hub(folder if "safetensors" in cfg.formats else cfg.model, cfg.push_to, private=cfg.private)
        console.print(f"On the hub: {page}")
    return Export(folder, checks)


def _check(cfg: DictConfig, loaded: LoadedNetwork) -> None:
    if not cfg.output:
        raise ConfigError("output= is not set. Type: pkdn export model=<run> output=<folder>")
    for name in cfg.formats:
        if name not in FILES:
            raise ConfigError(f"formats={name} is none of {', '.join(FILES)}.{did_you_mean(name, FILES)}")
    graphs = [name for name in cfg.formats if name != "safetensors"]
    if graphs and loaded.net.uses_parsing:
        raise ConfigError(
            f"{cfg.model} is a {type(loaded.net).__name__}, which reads a parsing map: only formats=[safetensors] is "
            "available. Export a student."
        )
    if {"onnx", "int8"} & set(graphs):
        check_onnx("formats=[safetensors,pt2]")


def _open(cfg: DictConfig, loaded: LoadedNetwork) -> Path:
    folder = Path(cfg.output).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"Nothing can be written to output={folder}: {error.strerror}.") from error
    unfinished = read_json(folder / _UNFINISHED)
    if unfinished.get("model") == loaded.sha256:
        for name in unfinished["files"]:
            (folder / name).unlink(missing_ok=True)
    existing = [FILES[name] for name in cfg.formats if (folder / FILES[name]).exists()]
    if existing:
        raise CheckpointError(
            f"{folder} already holds {', '.join(existing)}; nothing was changed. Set another output=<folder>."
        )
    write_json(folder / _UNFINISHED, {"model": loaded.sha256, "files": [FILES[name] for name in cfg.formats]})
    return folder


def _write(cfg: DictConfig, loaded: LoadedNetwork, folder: Path, faces: Faces) -> dict[str, str]:
    """Writes the files, and returns notes for the user by topic."""
    notes: dict[str, str] = {}
    with console.status("safetensors") as status:
        if "safetensors" in cfg.formats:
            save_pretrained(cfg.model, folder)
        if set(cfg.formats) <= {"safetensors"}:
            return notes
        status.update("tracing")
        lr = faces.lr
        program = trace(loaded.net, lr.shape[-1])
        sizes = (
            "any size that the network accepts"
            if fixed_size(program) is None
            else f"{lr.shape[-2]}x{lr.shape[-1]} only (Fourier transforms)"
        )
        notes["size"] = f"pt2 and ONNX (opset {OPSET}) accept batches of any size and LR of {sizes}."
        if "pt2" in cfg.formats:
            write_pt2(program, loaded.card, folder / FILES["pt2"])
        if "onnx" in cfg.formats or "int8" in cfg.formats:
            status.update("ONNX")
            with TemporaryDirectory() as elsewhere:  # a model.onnx that is not asked for is not the user's
                onnx = Path(folder if "onnx" in cfg.formats else elsewhere, FILES["onnx"])
                write_onnx(program, loaded.card, onnx)
                if "int8" in cfg.formats:
                    status.update("8 bits")
                    notes["int8"] = _write_int8(cfg, onnx, folder / FILES["int8"], faces)
    return notes


def _write_int8(cfg: DictConfig, onnx: Path, target: Path, faces: Faces) -> str:
    half = len(faces.calibration) // 2
    lr, hr = faces.calibration[half:], faces.calibration_hr[half:]
    exact = restore(load_runtime(onnx, threads=cfg.threads), lr)

    def loss(file: Path) -> float:
        return expected_loss_db(restore(load_runtime(file, threads=cfg.threads), lr), exact, hr)

    made = quantise(onnx, target, faces.calibration[:half], loss, may_lose_db=cfg.int8_loss_db)
    tried = ", ".join(f"{kept}: {db:.3f} dB" for kept, db in made.tried.items())
    return (
        f"int8: calibrated on {half} {faces.calibration_source}; the first {made.kept} of {made.convolutions} "
        f"convolutions stay in float32 (loss on {len(lr)} other faces by this number: {tried})."
    )


def _record(
    folder: Path, loaded: LoadedNetwork, checks: Mapping[str, Check], notes: Mapping[str, str], source: str
) -> None:
    content: dict[str, Any] = provenance("export", 0) | {
        "model": {"path": str(loaded.path), "sha256": loaded.sha256},
        "faces": source,
        "opset": OPSET,
        "checks": {name: found._asdict() for name, found in checks.items()},
        "notes": list(notes.values()),
    }
    write_json(folder / RECORD, content)


def _table(folder: Path, checks: Mapping[str, Check], source: str) -> Table:
    table = Table(title=f"Comparison with the original on {source}", title_justify="left")
    for column in ("format", "MB", "max diff", "PSNR to it", "psnr_y", "loss dB", "ms/face"):
        table.add_column(column, justify="left" if column == "format" else "right")
    for name, found in checks.items():
        size = "" if name == "original" else f"{(folder / FILES[name]).stat().st_size / 1e6:.2f}"
        near = "equal" if found.difference == 0 else f"{found.closeness_db:.1f}"
        table.add_row(
            name,
            size,
            f"{found.difference:.1e}",
            near,
            f"{found.psnr_y:.3f}",
            f"{found.loss_db:.3f}",
            f"{found.ms:.1f}",
        )
    return table
