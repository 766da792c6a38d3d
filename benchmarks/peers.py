"""Row 15: training steps of KDFSRNet and SPARNet as `recipe=fast` runs them, against their published form.

    python benchmarks/peers.py

The published form is plain PyTorch in float32 with its defaults (`peer_networks.py`); each variant has a process of its
own. Both networks have the published sizes and as many parameters.
"""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any, Final

import torch
from peer_networks import kdfsrnet_step, sparnet_step
from timing import Claim, Worker, arguments, compared, interleaved, report, serve
from torch import nn

from pkdn_lightning.hardware import bfloat16_gain, keep_freed_memory
from pkdn_lightning.losses import FeatureDistillation, Objective, Progress, Reconstruction, TeacherImage, Weight
from pkdn_lightning.modules import FrozenTeacher
from pkdn_lightning.networks.kdfsrnet import KDFSRNetStudent, KDFSRNetTeacher
from pkdn_lightning.networks.sparnet import SPARNet
from pkdn_lightning.train.autotune import WORTH_ROUNDING

TARGET: Final = 1.4
PUBLISHED: Final = {"KDFSRNet": kdfsrnet_step, "SPARNet": sparnet_step}
_WIDTHS: Final = {"KDFSRNet": 64, "SPARNet": 32}


def networks(name: str, width: int) -> tuple[nn.Module, nn.Module | None]:
    """Returns the suite's network and its teacher."""
    if name == "SPARNet":
        return SPARNet(width=width, max_width=4 * width, attention_width=2 * width), None
    return KDFSRNetStudent(width=width), KDFSRNetTeacher(width=width)


def tuned_step(name: str, batch: int, width: int, *, mixed: bool) -> Callable[[], None]:
    """Returns a step as `recipe=fast` runs it."""
    net, teacher = (
        each and each.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
        for each in networks(name, width)
    )
    guide = FrozenTeacher(teacher) if teacher else None
    terms: dict[str, Any] = {"sr": (Weight(1.0), Reconstruction())}
    if guide:
        terms |= {"ts": (Weight(0.1), TeacherImage()), "fs": (Weight(10.0), FeatureDistillation())}
    objective = Objective(terms)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, betas=(0.9, 0.99), fused=True)
    hr, parsing = (torch.rand(batch, 3, 128, 128).to(memory_format=torch.channels_last) for _ in range(2))
    faces: Any = {"lr": torch.rand(batch, 3, 16, 16), "hr": hr, "parsing": parsing}

    def once() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            told = guide(faces) if guide else None
            loss, _ = objective(net(faces["lr"]), hr, told, Progress(step=0, epoch=0), faces)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return once


def work(name: str, side: str, options: argparse.Namespace) -> None:
    """Serves one variant."""
    torch.set_num_threads(options.threads)
    width = max(1, _WIDTHS[name] // options.shrink)
    if side == "published":
        serve(PUBLISHED[name](options.batch, width))
        return
    keep_freed_memory()
    serve(tuned_step(name, options.batch, width, mixed=side == "tuned" and bfloat16_gain() > WORTH_ROUNDING))


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures each method against its published form."""
    told = ("--threads", str(options.threads), "--batch", str(options.batch), "--shrink", str(options.shrink))
    made = []
    for name in options.methods:
        with contextlib.ExitStack() as processes:
            sides = ("published", "float32", "tuned")
            workers = {side: processes.enter_context(Worker(__file__, name, side, *told)) for side in sides}
            taken = interleaved(workers, options.rounds)
        against = f"its published form, batch {options.batch}: {min(taken['published']):.2f} CPU s"
        for side, target in (("float32", float("nan")), ("tuned", TARGET)):
            what = f"a step of {name}, {'recipe=fast' if side == 'tuned' else 'recipe=fast in float32'}"
            note = f"{min(taken[side]):.2f} CPU s"
            made.append(Claim("15", what, against, *compared(taken["published"], taken[side]), target, note=note))
    return made


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--methods", nargs="+", choices=tuple(PUBLISHED), default=tuple(PUBLISHED))
    options.add_argument("--shrink", type=int, default=1, help="divides the widths, to try the benchmark out")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    if chosen.worker:
        work(*chosen.worker, chosen)
    else:
        torch.set_num_threads(chosen.threads)
        report(claims(chosen), chosen)
