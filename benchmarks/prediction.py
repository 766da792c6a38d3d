"""Rows 16 to 19: `pkdn predict` of one picture, of a folder, of one face by runtime, and of a large photograph.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --pictures 100 --megapixels 4        a quick look

16  a process that restores one picture of 16 px, against one that only imports torch: CPU seconds and peak memory
17  a folder of small pictures, against the network alone at the same batch size; the start of the process excluded
18  the included x8 model in 8 bits, the default on a CPU, against eager float32, one face at a time, with what it loses
    on the test portraits
19  peak memory of a photograph with 40 faces, as a multiple of its decoded size

Rows 16 and 19 compile no bytecode: as in an installation, that of an earlier run is there.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from timing import Claim, arguments, compared, interleaved, report

from pkdn_lightning.config import compose
from pkdn_lightning.console import console
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.pixels import to_floats, to_tensor
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.export.comparison import restore
from pkdn_lightning.metrics import psnr_y
from pkdn_lightning.models.runtimes import Restorer, load_runtime
from pkdn_lightning.predict import predict

MODEL, INT8 = "portraits_x8", "portraits_x8_int8"
START, START_ONNX_S, START_MB = 1.5, 0.8, 330.0
FOLDER, FACE, MAY_LOSE_DB = 1.6, 2.5, 0.03
FACES, SIDE_PX = 40, 16
Timed = tuple[float, float]
# The kernel's peak of a child includes its parent's before it became Python, so the child tells its own.
_PROGRAM: Final = """
from pkdn_lightning.__main__ import main
main()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def process(command: list[str]) -> Timed:
    """Returns the CPU seconds and the peak memory in MB of a Python process.

    Raises:
        RuntimeError: If it failed.
    """
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, env=environ, text=True)
    assert started.stdout
    lines = started.stdout.read().split()
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise RuntimeError(f"{' '.join(command)} failed.")
    return usage.ru_utime + usage.ru_stime, float(lines[-1]) / 1024 if lines else 0.0


def predicting(file: Path, output: Path, *options: str) -> list[str]:
    """Returns the arguments of Python for a prediction in a process of its own."""
    return ["-c", _PROGRAM, "predict", f"input={file}", f"output={output}", "overwrite=true", *options]


def one_picture(folder: Path, rounds: int) -> Iterator[Claim]:
    """Row 16."""
    Image.fromarray(portraits("test", 1)[0].hr).resize((SIDE_PX, SIDE_PX)).save(folder / "one.png")
    kinds = {"torch": "runtime=torch"} | ({"the default, ONNX Runtime": "runtime=auto"} if _has_onnxruntime() else {})
    peak: dict[str, float] = {}

    def run(name: str, command: list[str]) -> float:
        seconds, peak[name] = process(command)
        return seconds

    commands = {name: predicting(folder / "one.png", folder / "out", option) for name, option in kinds.items()}
    commands["import torch"] = ["-c", "import torch"]
    taken = interleaved({name: lambda n=name, c=each: run(n, c) for name, each in commands.items()}, rounds)  # type: ignore[misc]
    base = taken.pop("import torch")
    for name, seconds in taken.items():
        what, against = f"predict one picture: {name}", f"import torch: {statistics.median(base):.2f} CPU s"
        if name == "torch":
            yield Claim("16", what, against, *compared(seconds, base), START, at_most=True)
        else:
            yield Claim("16", what, "", statistics.median(seconds), min(seconds), max(seconds), START_ONNX_S, "s", at_most=True)  # fmt: skip  # noqa: E501
        yield Claim("16", what, "", peak[name], peak[name], peak[name], START_MB, "MB", at_most=True, note="peak memory")  # fmt: skip  # noqa: E501


def folder_of_pictures(folder: Path, options: argparse.Namespace) -> Claim:
    """Row 17, in float32."""
    (folder / "in").mkdir()
    faces = portraits("train", min(options.pictures, 856))
    for number in range(options.pictures):
        small = Image.fromarray(faces[number % len(faces)].hr).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        small.save(folder / "in" / f"{number:05}.png")
    restorer = load_runtime(MODEL, threads=options.threads)
    lr = to_floats([np.asarray(Image.open(file)) for file in sorted((folder / "in").iterdir())])
    told = [f"model={MODEL}", "runtime=torch", f"input={folder / 'in'}", f"threads={options.threads}", "overwrite=true"]
    cfg = compose("predict", [*told, f"output={folder / 'results'}"])

    def network() -> None:
        for begin in range(0, len(lr), cfg.batch_size):
            restorer(lr[begin : begin + cfg.batch_size])

    def whole() -> None:
        console.quiet = True
        predict(cfg)
        console.quiet = False

    network()
    taken: dict[str, list[float]] = {"network": [], "whole": []}
    for _ in range(max(1, options.rounds // 2)):
        for name, work in (("network", network), ("whole", whole)):
            begin = time.process_time()
            work()
            taken[name].append((time.process_time() - begin) / len(lr) * 1e3)
    against = f"the network alone, batch {cfg.batch_size}: {statistics.median(taken['network']):.1f} CPU ms a face"
    what = f"predict {len(lr):,} pictures of {SIDE_PX} px"
    return Claim("17", what, against, *compared(taken["whole"], taken["network"]), FOLDER, at_most=True)


def one_face(options: argparse.Namespace) -> Iterator[Claim]:
    """Row 18."""
    hr = to_tensor([face.hr for face in portraits("test", options.faces)])
    eager, small = load_runtime(MODEL, threads=options.threads), load_runtime(INT8, threads=options.threads)
    lr = degrade(hr, eager.scale)
    best = psnr_y(restore(eager, lr), hr).mean().item()
    variants = {"eager float32": eager, "ONNX Runtime int8": small}
    variants["bfloat16"] = load_runtime(MODEL, precision="bf16", threads=options.threads)
    one = lr[:1].numpy()
    taken = interleaved({name: _often(each, one) for name, each in variants.items()}, options.rounds)
    against = f"eager float32: {min(taken['eager float32']) / _CALLS * 1e3:.1f} CPU ms"
    for name in list(variants)[1:]:
        loss = best - psnr_y(restore(variants[name], lr), hr).mean().item()
        target = FACE if loss < MAY_LOSE_DB else float("nan")
        note = f"loses {loss:.4f} dB; a default may lose {MAY_LOSE_DB}"
        ratio = compared(taken["eager float32"], taken[name])
        yield Claim("18", f"one face: {name}", against, *ratio, target, note=note)


_CALLS = 5


def _often(restorer: Restorer, lr: np.ndarray) -> Callable[[], None]:  # type: ignore[type-arg]
    def call() -> None:
        for _ in range(_CALLS):
            restorer(lr)

    return call


def large_photograph(folder: Path, options: argparse.Namespace) -> Claim:
    """Row 19: enlarged faces of 16 px on noise."""
    width = round((options.megapixels * 1e6 * 4 / 3) ** 0.5)
    size = (width, round(options.megapixels * 1e6 / width))
    canvas = Image.effect_noise((500, 400), 20).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    step = (size[0] // 8, size[1] // 5)
    side = round(min(step) * 0.45)
    for number, face in enumerate(portraits("test", FACES)):
        small = Image.fromarray(face.hr).resize((24, 24), Image.Resampling.BICUBIC)
        place = (number % 8 * step[0] + side // 4, number // 8 * step[1] + side // 4)
        canvas.paste(small.resize((side, side), Image.Resampling.BICUBIC), place)
    canvas.save(folder / "large.jpg", quality=92)
    decoded_mb = size[0] * size[1] * 3 / 2**20
    told = (f"model={INT8 if _has_onnxruntime() else MODEL}", f"threads={options.threads}", "mode=photo", "faces=all")
    _, peak = process(["-W", "ignore", *predicting(folder / "large.jpg", folder / "photo", *told)])
    against = f"decoded, {decoded_mb:.0f} MB"
    note = "Pillow stores 4 bytes a pixel: photograph and result are 2.7x"
    what = f"peak memory, {options.megapixels:g} megapixels, {FACES} faces"
    return Claim("19", what, against, *(3 * (peak / decoded_mb,)), float("nan"), note=note)


def _has_onnxruntime() -> bool:
    with suppress(ImportError):
        import onnxruntime  # noqa: F401

        return True
    return False


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures the rows one after the other."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [*one_picture(folder, options.rounds), folder_of_pictures(folder, options)]
        made += one_face(options) if _has_onnxruntime() else []
        made.append(large_photograph(folder, options))
    return made


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--pictures", type=int, default=2000, help="in the folder")
    options.add_argument("--faces", type=int, default=100, help="to measure the loss with")
    options.add_argument("--megapixels", type=float, default=99.0, help="of the photograph")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    report(claims(chosen), chosen)
