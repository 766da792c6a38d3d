"""Row 10: parsing a face on a CPU, against eager float32 in batches; labels that differ, and mean IoU.

    python benchmarks/parsing.py --weights 79999_iter.pth --faces celebamask_hq/val

`--faces` is a folder of `images/` and `parsing/` with known maps. Without it the included portraits are parsed, whose
maps are BiSeNet's own with repaired sides: mean IoU then says how alike the maps are, not how right.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from timing import Claim, arguments, compared, interleaved, report

from pkdn_lightning.data.labels import LABELS, ORDERS
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.faces.parser import BiSeNetParser

EXACT, FAST, LOSS = 1.35, 2.5, 0.005
_BATCH = 8


class Eager(BiSeNetParser):
    """The network as PyTorch runs it: eager float32, in batches."""

    def parse_all(self, faces: list[NDArray[np.uint8]], batch: int) -> NDArray[np.uint8]:
        """Returns the maps, (N, S, S)."""
        maps = []
        for start in range(0, len(faces), batch):
            with torch.inference_mode():
                logits = self._net(self._images(np.stack(faces[start : start + batch])))
                maps.append(F.interpolate(logits, faces[0].shape[0], mode="nearest-exact").argmax(1).numpy())
        return np.array(ORDERS["bisenet"], dtype=np.uint8)[np.concatenate(maps)]


def mean_iou(truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> float:
    """Returns the IoU averaged over the classes of one confusion matrix of all faces."""
    pairs = np.bincount((truth.astype(np.int64) * len(LABELS) + found).ravel(), minlength=len(LABELS) ** 2)
    confusion = pairs.reshape(len(LABELS), len(LABELS))
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    there = confusion.sum(1) > 0
    return float((np.diag(confusion)[there] / union[there]).mean())


def read(folder: str | None, count: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
    """Returns faces and their maps."""
    if folder is None:
        found = [face for face, _ in zip(portraits("train", 128), range(count), strict=False)]
        return [face.hr for face in found], np.stack([face.parsing for face in found])
    files = sorted(Path(folder, "images").iterdir())[:count]
    maps = [np.asarray(Image.open(Path(folder, "parsing", f"{file.stem}.png"))) for file in files]
    return [np.asarray(Image.open(file).convert("RGB")) for file in files], np.stack(maps)


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures time on `--timed` faces, and maps on all."""
    if not options.weights or not Path(options.weights).is_file():
        nan = float("nan")
        reason = "skipped: it needs BiSeNet's weights, --weights 79999_iter.pth"
        return [Claim("10", "parsing a face", "eager float32", nan, nan, nan, nan, note=reason)]
    faces, truth = read(options.faces, options.count)
    plain = {"weights": options.weights, "device": "cpu", "repair_sides": False, "threads": options.threads}
    eager, made = Eager(**plain), {name: BiSeNetParser(**plain, precision=name) for name in ("float32", "int8")}
    names, few = [str(number) for number in range(len(faces))], faces[: options.timed]
    variants = {
        "eager": lambda: eager.parse_all(few, _BATCH),
        "eager, one by one": lambda: eager.parse_all(few, 1),
        **{name: lambda parser=parser: parser.parse(names[: len(few)], few) for name, parser in made.items()},
    }
    for parser in made.values():
        parser.calibrate(faces[:: max(1, len(faces) // 16)])
    taken = interleaved(variants, options.rounds)
    base = eager.parse_all(faces, _BATCH)
    before = mean_iou(truth, base)
    rows = []
    for name, target in (("float32", EXACT), ("int8", FAST)):
        maps = np.stack([np.asarray(each) for each in made[name].parse(names, faces)])
        differ, after = float((maps != base).mean()) * 100, mean_iou(truth, maps)
        each = ", ".join(f"{key}: {min(values) / len(few) * 1e3:.0f} ms" for key, values in taken.items())
        rows.append(Claim("10", f"parsing a face, {name}", "eager float32, batches of 8",
                          *compared(taken["eager"], taken[name]), target, note=each))  # fmt: skip
        rows.append(Claim("10", f"parsing a face, {name}", "eager float32, one by one",
                          *compared(taken["eager, one by one"], taken[name]), target))  # fmt: skip
        bound = 0.0 if name == "float32" else float("nan")
        rows.append(Claim("10", f"labels of {name} that differ from eager's", f"{len(faces)} faces",
                          differ, differ, differ, bound, "%", at_most=True))  # fmt: skip
        rows.append(Claim("10", f"mean IoU lost by {name}", f"eager's {before:.4f}", before - after, before - after,
                          before - after, LOSS, "", at_most=True, note=f"{after:.4f}"))  # fmt: skip
    return rows


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--weights", help="BiSeNet's public weights; without them nothing is measured")
    options.add_argument("--faces", help="folder of images/ and parsing/")
    options.add_argument("--count", type=int, default=64, help="faces whose maps are compared")
    options.add_argument("--timed", type=int, default=8, help="faces whose parsing is timed")
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    report(claims(chosen), chosen)
