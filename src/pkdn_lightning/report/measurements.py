"""Values per image and speeds: measured once and kept, and measured again when what they are of has changed."""

import contextlib
import csv
import hashlib
import io
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pkdn_lightning.data.parsing import encoding_channels
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.evaluate.measure import (
    BICUBIC,
    Method,
    Serving,
    bicubic_method,
    check_parsing,
    measure,
    network_method,
)
from pkdn_lightning.files import read_json, write_json, write_text
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.models.checkpoints import network_from_card
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.report.rows import Row, Run

BATCH: Final = 8
"""Faces at a time in the second of the two speeds."""

_WARM_UPS: Final = 2
_FEWEST, _MOST, _ENOUGH_S = 3, 20, 2.0  # timed forwards: a few, or many where they are quick


class Faces(NamedTuple):
    """What was measured of one run, or of several, on one test set.

    Attributes:
        names: The faces, (N,).
        psnr: In dB, (N,).
        ssim: (N,).
    """

    names: tuple[str, ...]
    psnr: NDArray[np.float64]
    ssim: NDArray[np.float64]


class Speed(NamedTuple):
    """Images per second, one at a time and eight at a time."""

    one: float
    eight: float


def serving_of(rows: Sequence[Row], batch_size: int) -> Serving:
    """Returns how the test faces are fed to all rows.

    Raises:
        ConfigError: If the runs were trained for several scales or degradations.
    """
    found: dict[tuple[int, str], Path] = {}
    for run in (run for row in rows for run in row.runs):
        found.setdefault((run.config["data"]["scale"], run.config["data"]["degradation"]), run.folder.path)
    if len(found) > 1:
        ways = "; ".join(f"scale={scale} degradation={how} in {path}" for (scale, how), path in found.items())
        raise ConfigError(
            f"The runs were trained for different tasks, and one table cannot hold them: {ways}.\n"
            "Put the runs of each into a folder of their own, and report each folder: pkdn report runs=<folder>"
        )
    scale, degradation = next(iter(found))
    return Serving("test", scale, degradation, batch_size)  # type: ignore[arg-type]  # checked when it was trained


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
        serving: How faces are fed.
        stores: The test sets by name.
        device: Where to compute.
        folder: The report's folder, for what belongs to no run.
    """

    def __init__(self, serving: Serving, stores: Mapping[str, FaceStore], device: torch.device, folder: Path) -> None:
        self.serving, self.stores, self.device, self.folder = serving, stores, device, folder

    def floor(self) -> dict[str, Faces]:
        """Returns bicubic's values by test set."""
        places = {name: self.folder / "per_image" / f"bicubic_{name}.csv" for name in self.stores}
        return self._cached(places, BICUBIC, BICUBIC, lambda: bicubic_method(self.serving.scale))

    def run(self, run: Run, title: str) -> dict[str, Faces]:
        """Returns a run's values by test set.

        Args:
            run: The run; its best checkpoint counts.
            title: What the progress bar calls it.
        """
        places = {name: run.folder.path / "per_image" / f"{name}.csv" for name in self.stores}
        return self._cached(places, run.sha256, title, lambda: self.method(run, title))

    def method(self, run: Run, name: str) -> Method:
        """Returns the loaded network of a run."""
        serving = self.serving
        return network_method(
            name, str(run.checkpoint), scale=serving.scale, degradation=serving.degradation, device=self.device
        )

    def speed(self, run: Run) -> Speed:
        """Returns how quick a run's network is on this device."""
        network = run.config["model"]
        side_px = next(iter(self.stores.values())).size_px // self.serving.scale
        key = {"network": network, "lr_px": side_px, "torch": torch.__version__, **where(self.device)}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        file = self.folder / "speeds.json"
        known = read_json(file)
        if digest not in known:
            net = network_from_card(network, run.folder.config).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
            channels = encoding_channels(run.config["data"]["encoding"])
            speed = [measure_speed(net.eval(), side_px, channels, self.serving.scale, count) for count in (1, BATCH)]
            known[digest] = {**key, "images_per_s": speed}
            write_json(file, known)
        return Speed(*known[digest]["images_per_s"])

    def _cached(
        self, places: Mapping[str, Path], sha256: str, title: str, load: Callable[[], Method]
    ) -> dict[str, Faces]:
        method: Method | None = None
        found: dict[str, Faces] = {}
        for name, store in self.stores.items():
            stamp = self._stamp(sha256, store)
            known = read_faces(places[name], stamp)
            if known is None:
                method = method or load()
                check_parsing([method], store)
                bar = f"{title} on {name}"
                rows = list(measure([method], store, self.serving, [HEADLINE.name], self.device, bar))
                known = Faces(
                    tuple(row["face"] for row in rows),
                    np.array([row["psnr_y"] for row in rows]),
                    np.array([row["ssim_y"] for row in rows]),
                )
                write_faces(places[name], stamp, known)
            found[name] = known
        return found

    def _stamp(self, sha256: str, store: FaceStore) -> dict[str, Any]:
        return {
            "checkpoint": sha256,
            "store": store.sha256,
            "split": self.serving.split,
            "scale": self.serving.scale,
            "degradation": self.serving.degradation,
            "protocol": HEADLINE.name,
        }


def read_faces(file: Path, stamp: Mapping[str, Any]) -> Faces | None:
    """Returns the values kept in a file; None if there are none, or they are of something else than `stamp` says."""
    try:
        first, _, table = file.read_text(encoding="utf-8").partition("\n")
        if json.loads(first.removeprefix("# ")) != stamp:
            return None
        rows = list(csv.DictReader(io.StringIO(table)))
        return Faces(
            tuple(row["face"] for row in rows),
            np.array([float(row["psnr_y"]) for row in rows]),
            np.array([float(row["ssim_y"]) for row in rows]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_faces(file: Path, stamp: Mapping[str, Any], faces: Faces) -> None:
    """Keeps values in a file, in one step; where the folder is read-only they are measured each time."""
    text = io.StringIO()
    text.write(f"# {json.dumps(stamp)}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["face", "psnr_y", "ssim_y"])
    writer.writerows(zip(faces.names, faces.psnr.tolist(), faces.ssim.tolist(), strict=True))
    with contextlib.suppress(OSError):
        write_text(file, text.getvalue())


@torch.inference_mode()
def measure_speed(net: SRNetwork, lr_px: int, parsing_channels: int, scale: int, batch: int) -> float:
    """Returns images per second: of a batch, over the median of a few timed forwards after a warm-up.

    Args:
        net: The network, on its device.
        lr_px: Side of the LR faces.
        parsing_channels: Channels of the parsing maps, which are only fed to a network that reads them.
        scale: Enlargement from LR to HR.
        batch: Faces at a time.
    """
    device = next(net.parameters()).device
    inputs = [torch.rand(batch, 3, lr_px, lr_px, device=device)]
    if net.uses_parsing:
        inputs.append(torch.rand(batch, parsing_channels, lr_px * scale, lr_px * scale, device=device))
    times: list[float] = []
    for _ in range(_WARM_UPS):
        _time(net, inputs)
    while len(times) < _FEWEST or (len(times) < _MOST and sum(times) < _ENOUGH_S):
        times.append(_time(net, inputs))
    return batch / float(np.median(times))


def where(device: torch.device) -> dict[str, Any]:
    """Returns on what speeds are measured: the device's name and the CPU threads."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "threads": torch.get_num_threads()}


def _time(net: SRNetwork, inputs: Sequence[torch.Tensor]) -> float:
    on_gpu = inputs[0].is_cuda
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    net(*inputs)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"
