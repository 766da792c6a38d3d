"""Values per image and speeds: measured once and kept, and measured again when what they belong to has changed."""

import contextlib
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.benchmark import Timer

from pkdn_lightning.data.labels import ENCODING_CHANNELS
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.evaluate.measure import (
    BICUBIC,
    InputSpec,
    Method,
    bicubic_method,
    check_parsing,
    measure,
    network_method,
)
from pkdn_lightning.file_schema import fault
from pkdn_lightning.files import read_json, write_json
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.models.checkpoints import network_from_card
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.report.rows import Row
from pkdn_lightning.report.run import Run

BATCH: Final = 8
"""Faces at a time in the second of the two speeds."""

_SHORTEST_S, _LONGEST_S = 0.5, 5.0  # how long a network is timed: the less its times vary, the shorter


class Faces(NamedTuple):
    """What was measured of one run, or of several, on the N faces of a test set."""

    names: tuple[str, ...]
    psnr: NDArray[np.float64]  # in dB, (N,)
    ssim: NDArray[np.float64]  # (N,)


class Speed(NamedTuple):
    """Images per second, one at a time and eight at a time."""

    one: float
    eight: float


def open_test_sets(given: Mapping[str, str], rows: Sequence[Row], *, verify: bool) -> dict[str, FaceStore]:
    """Returns the test sets: those that were given, else those that the runs were tested on.

    Raises:
        ConfigError: If runs mean different stores by one name.
        DataError: If one is missing or has no test faces.
    """
    paths = dict(given)
    for run in (run for row in rows for run in row.runs) if not given else ():
        data = run.config["data"]
        for name, path in (data["test_stores"] or {data["name"]: data["store"]}).items():
            if Path(paths.setdefault(name, path)).absolute() != Path(path).absolute():
                raise ConfigError(
                    f"The runs were tested on different stores called '{name}': {paths[name]} and {path}.\n"
                    f"Say which one to measure on: data.test_stores.{name}=<store>"
                )
    stores = {}
    for name, path in paths.items():
        try:
            stores[name] = FaceStore.open(path, verify=verify)
            stores[name].indices("test")
        except DataError as error:
            raise DataError(
                f"Test set '{name}': {error}\nSay where it is: data.test_stores.{name}=<store>. "
                f"To make it: pkdn prepare data={name}"
            ) from error
    return stores


class Measurements:
    """Measures runs, or reads what was measured of them before.

    Args:
        spec: The input of every method.
        stores: The test sets by name.
        device: Where to compute.
        folder: The report's folder, for what belongs to no run.
    """

    def __init__(self, spec: InputSpec, stores: Mapping[str, FaceStore], device: torch.device, folder: Path) -> None:
        self.spec, self.stores, self.device, self.folder = spec, stores, device, folder

    def values(self, run: Run | None, title: str) -> dict[str, Faces]:
        """Returns the values of a run's best checkpoint by test set; of bicubic interpolation for None.

        Args:
            run: The run.
            title: What the progress bar calls it.
        """
        folder, sha256 = (run.folder.path, run.sha256) if run else (self.folder, BICUBIC)
        fed = {key: value for key, value in self.spec._asdict().items() if key != "batch_size"}
        method: Method | None = None
        found: dict[str, Faces] = {}
        for name, store in self.stores.items():
            file = folder / "per_image" / f"{name}.json"
            stamp = {"checkpoint": sha256, "store": store.sha256, "protocol": HEADLINE.name, **fed}
            known = _read_faces(file, stamp)
            if known is None:
                method = method or self.method(run, title)
                check_parsing([method], store)
                bar = f"{title} on {name}"
                rows = list(measure([method], store, self.spec, [HEADLINE.name], self.device, bar))
                measured = {key: [row[key] for row in rows] for key in ("face", "psnr_y", "ssim_y")}
                with contextlib.suppress(OSError):  # in a read-only folder they are measured each time
                    write_json(file, {"stamp": stamp, **measured})
                known = _faces(measured)
            found[name] = known
        return found

    def method(self, run: Run | None, name: str) -> Method:
        """Returns the loaded network of a run; bicubic interpolation for None."""
        spec = self.spec
        if run is None:
            return bicubic_method(spec.scale)
        return network_method(name, str(run.checkpoint), spec, self.device)

    def speed(self, run: Run) -> Speed:
        """Returns how fast a run's network is on this device."""
        network = run.config["model"]
        side_px = next(iter(self.stores.values())).size_px // self.spec.scale
        key = {"network": network, "lr_px": side_px, "torch": torch.__version__, **describe_device(self.device)}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        known = read_json(file := self.folder / "speeds.json")
        if fault(known.get(digest), {"images_per_s": [float]}) is not None:
            net = network_from_card(network, run.folder.config).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
            channels = ENCODING_CHANNELS[run.config["data"]["encoding"]]
            speed = [measure_speed(net.eval(), side_px, channels, self.spec.scale, count) for count in (1, BATCH)]
            known[digest] = {**key, "images_per_s": speed}
            write_json(file, known)
        return Speed(*known[digest]["images_per_s"])


def _faces(values: Mapping[str, Any]) -> Faces:
    return Faces(tuple(values["face"]), np.array(values["psnr_y"], float), np.array(values["ssim_y"], float))


def _read_faces(file: Path, stamp: Mapping[str, Any]) -> Faces | None:
    """Returns the values kept in a file; None if there are none, or they belong to something else than `stamp`."""
    known = read_json(file)
    try:
        faces = _faces(known) if known.get("stamp") == stamp else None
    except (KeyError, TypeError, ValueError):
        return None
    return faces if faces and faces.psnr.shape == faces.ssim.shape == (len(faces.names),) else None


@torch.inference_mode()
def measure_speed(net: SRNetwork, lr_px: int, parsing_channels: int, scale: int, batch: int) -> float:
    """Returns images per second: of a batch, over the median of timed forward passes after a warm-up.

    Args:
        net: The network, on its device.
        lr_px: Side of the LR faces.
        parsing_channels: Channels of the parsing maps, for a network that reads them.
        scale: Enlargement from LR to HR.
        batch: Faces at a time.
    """
    device = next(net.parameters()).device
    inputs = [torch.rand(batch, 3, lr_px, lr_px, device=device)]
    if net.uses_parsing:
        inputs.append(torch.rand(batch, parsing_channels, lr_px * scale, lr_px * scale, device=device))
    timer = Timer("net(*inputs)", globals={"net": net, "inputs": inputs}, num_threads=torch.get_num_threads())
    timed = timer.adaptive_autorange(min_run_time=_SHORTEST_S, max_run_time=_LONGEST_S)
    return batch / timed.median


def describe_device(device: torch.device) -> dict[str, Any]:
    """Returns what speeds are measured on: the device's name and the CPU threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "threads": torch.get_num_threads()}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"
