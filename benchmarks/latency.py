"""Row 5: restoring one face on a CPU, by every runtime at hand, with what it costs in dB.

    python benchmarks/latency.py --run runs/student_celeba/<run> --store stores/celeba
    python benchmarks/latency.py                                   an untrained full-size student: times only

ONNX Runtime is measured if it is installed: pip install 'pkdn-lightning[export]'. Its networks are those that
`pkdn export` writes, in 8 bits calibrated on training faces; loss is PSNR on validation faces against eager float32.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import Claim, arguments, compared, interleaved, peak_flops, report
from torch import Tensor, nn

from networks import Settings
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.export.graphs import trace, write_onnx
from pkdn_lightning.export.quantize import expected_loss_db, quantise
from pkdn_lightning.hardware import keep_freed_memory
from pkdn_lightning.metrics import psnr_y
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.networks.cost import count_macs
from pkdn_lightning.networks.pkdn import PKDNStudent

EXACT, INT8 = 2.5, 4.0
EXACT_DB, INT8_DB = 0.01, 0.1
Restore = Callable[[Tensor], Tensor]
Faces = tuple[Tensor, Tensor]  # LR and HR


class _Image(nn.Module):
    """A network that returns the image alone, as exported ones do."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, lr: Tensor) -> Tensor:
        return self.net(lr).sr


def runtimes(net: nn.Module, seen: Faces, options: argparse.Namespace, folder: Path) -> dict[str, Restore]:
    """Returns what can restore a face here, eager float32 first."""
    plain = _Image(net).eval()
    last: Any = torch.channels_last
    layout = _Image(deepcopy(net).to(memory_format=last)).eval()

    def mixed(restore: Restore) -> Restore:
        def call(lr: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return restore(lr).float()

        return call

    found: dict[str, Restore] = {
        "eager float32": plain,
        "channels last": layout,
        "channels last, bfloat16": mixed(layout),
    }
    if options.compile:
        compiled = torch.compile(layout)
        found |= {"compiled": compiled, "compiled, bfloat16": mixed(torch.compile(_Image(layout.net).eval()))}
    with suppress(ImportError):
        found |= dict(_onnx(net, seen, options.threads, folder))
    return found


def _onnx(net: nn.Module, seen: Faces, threads: int, folder: Path) -> Iterator[tuple[str, Restore]]:
    import onnxruntime

    exact, small = folder / "exact.onnx", folder / "int8.onnx"
    write_onnx(trace(net, seen[0].shape[-1]), {"scale": 8, "degradation": "pil"}, exact)

    def session(file: Path) -> Restore:
        choices = onnxruntime.SessionOptions()
        choices.intra_op_num_threads = threads
        runs = onnxruntime.InferenceSession(file, choices, providers=["CPUExecutionProvider"])
        return lambda lr: torch.from_numpy(runs.run(None, {"lr": lr.numpy()})[0])

    yield "ONNX Runtime float32", session(exact)
    (calibration, lr), (_, hr) = (each.tensor_split(2) for each in seen)
    sr = session(exact)(lr)
    quantise(exact, small, calibration, lambda file: expected_loss_db(session(file)(lr), sr, hr))
    yield "ONNX Runtime int8", session(small)


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures time and loss of each runtime, one face at a time."""
    keep_freed_memory()
    torch.manual_seed(0)
    net: nn.Module = load_network(options.run).net if options.run else PKDNStudent(width=options.width)
    (lr, hr), seen = _faces(options)
    made = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        with torch.inference_mode(False), torch.no_grad():
            found = runtimes(net.eval(), seen, options, Path(folder))
        one = lr[:1].clone()
        taken = interleaved({name: _often(restore, one) for name, restore in found.items()}, options.rounds)
        bound = min(taken["eager float32"]) / _CALLS / _least(net, one)
        for name, restore in list(found.items())[1:]:
            int8 = "int8" in name
            loss = _loss(found["eager float32"], restore, lr, hr) if options.store and options.run else float("nan")
            limit = INT8_DB if int8 else EXACT_DB
            good = loss <= limit or loss != loss
            note = f"{min(taken[name]) / _CALLS * 1e3:.1f} ms; costs {loss:.4f} dB (may cost {limit})"
            if not good:
                note += ": more than it may"
            if "bfloat16" in name:
                note += f"; its products alone, at this core's peak, would give {bound:.2f}x"
            target = (INT8 if int8 else EXACT) if good else float("nan")
            against = f"eager float32: {min(taken['eager float32']) / _CALLS * 1e3:.1f} CPU ms"
            made.append(Claim("5", f"one face: {name}", against, *compared(taken["eager float32"], taken[name]), target, note=note))  # fmt: skip  # noqa: E501
    return made


_CALLS = 5


def _least(net: nn.Module, lr: Tensor) -> float:
    """Returns the seconds that the products of a pass take at the peak of bfloat16 matrix products."""
    with torch.inference_mode(False), torch.no_grad():
        return 2 * count_macs(net, lr.clone()) / peak_flops(torch.device("cpu"), torch.bfloat16, 2048)


def _often(restore: Restore, lr: Tensor) -> Callable[[], None]:
    def call() -> None:
        for _ in range(_CALLS):
            restore(lr)

    return call


def _faces(options: argparse.Namespace) -> tuple[Faces, Faces]:
    if not options.store:
        random = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 128, 128)
        return random, random
    data = FaceSRDataModule(options.store)
    held, seen = data.preview("val", options.faces), data.preview("train", 64)
    return (held["lr"].contiguous(), held["hr"].contiguous()), (seen["lr"].contiguous(), seen["hr"].contiguous())


def _loss(exact: Restore, other: Restore, lr: Tensor, hr: Tensor) -> float:
    def mean(restore: Restore) -> float:
        return float(np.mean([psnr_y(restore(face), true).item() for face, true in zip(lr.split(1), hr.split(1), strict=True)]))  # fmt: skip  # noqa: E501

    return mean(exact) - mean(other)


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--run", help="a trained student: run folder or checkpoint")
    options.add_argument("--store", help="whose training faces calibrate and whose validation faces judge")
    options.add_argument("--faces", type=int, default=50, help="to judge with")
    options.add_argument("--width", type=int, default=Settings.width, help="of the untrained student")
    options.add_argument("--compile", action="store_true", help="torch.compile, too; takes minutes first")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    report(claims(chosen), chosen)
