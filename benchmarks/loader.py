"""Row 1: batches ready for the network, against a folder of PNGs read one image at a time, the peers' way.

    python benchmarks/loader.py

Both give LR, HR and one-hot parsing maps of the same portraits, in float32, in one process. The peers' way: Pillow
opens HR and map, Pillow shrinks HR to LR, `torch.nn.functional.one_hot` encodes the map, a DataLoader stacks.
"""

import argparse
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timing import Claim, arguments, compared, interleaved, report
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.hardware import keep_freed_memory
from pkdn_lightning.prepare.store_writer import StoreWriter

READY, GATHERED = 15.0, 40.0


class ImageFolder(Dataset[dict[str, Tensor]]):
    """HR faces and parsing maps as PNG files."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*_hr.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        file = self.files[index]
        hr = Image.open(file).convert("RGB")
        lr = hr.resize((hr.width // 8, hr.height // 8), Image.Resampling.BICUBIC)
        labels = np.array(Image.open(file.with_name(file.name.replace("_hr", "_parsing"))))
        parsing = F.one_hot(torch.from_numpy(labels).long(), len(LABELS)).permute(2, 0, 1).float()
        return {"lr": _tensor(lr), "hr": _tensor(hr), "parsing": parsing}


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def make(folder: Path, count: int) -> tuple[ImageFolder, FaceStore]:
    """Writes the same faces as images and as a store."""
    (folder / "images").mkdir()
    with StoreWriter(folder / "store", name="portraits") as writer:
        for number, face in zip(range(count), cycle(portraits("train", 256)), strict=False):
            writer.add(Entry(f"{number:06d}", "train"), face.hr, face.parsing)
            Image.fromarray(face.hr).save(folder / "images" / f"{number:06d}_hr.png")
            Image.fromarray(face.parsing).save(folder / "images" / f"{number:06d}_parsing.png")
        writer.finish()
    return ImageFolder(folder / "images"), FaceStore.open(folder / "store")


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures ready batches under both encodings, and the bare gather."""
    keep_freed_memory()  # as train does
    with tempfile.TemporaryDirectory() as place:
        images, store = make(Path(place), options.faces)
        theirs = DataLoader(images, batch_size=options.batch_size, shuffle=True)
        suites = {
            encoding: FaceSRDataModule(store.path, encoding=encoding, batch_size=options.batch_size)  # type: ignore[arg-type]
            for encoding in ("onehot", "colour")
        }
        _agree(images, suites["onehot"])

        def served(encoding: str, finish: Callable[[Any], Any]) -> Callable[[], None]:
            def work() -> None:
                for raw in suites[encoding].train_dataloader():
                    finish(raw)

            return work

        def opened() -> None:
            for file in images.files:
                np.array(Image.open(file).convert("RGB"))
                np.array(Image.open(file.with_name(file.name.replace("_hr", "_parsing"))))

        taken = interleaved(
            {
                "theirs": lambda: [None for _ in theirs],
                "opened": opened,
                "onehot": served("onehot", lambda raw: suites["onehot"].on_after_batch_transfer(raw, 0)),
                "colour": served("colour", lambda raw: suites["colour"].on_after_batch_transfer(raw, 0)),
                "reduced": served("colour", lambda raw: degrade(raw["hr"].permute(0, 3, 1, 2), 8)),
                "gathered": served("colour", lambda raw: None),
            },
            options.rounds,
        )
    rate = {name: f"{options.faces / min(each):,.0f}" for name, each in taken.items()}

    lr = min(taken["reduced"]) - min(taken["gathered"])

    def claim(what: str, ours: str, theirs: str, against: str, target: float) -> Claim:
        note = f"{rate[ours]} faces a CPU second, theirs {rate[theirs]}"
        if ours != "gathered":
            note += f"; LR equal to Pillow's takes {lr / min(taken[ours]):.0%} of it"
        return Claim("1", what, against, *compared(taken[theirs], taken[ours]), target, note=note)

    peers = "PNG folder, Pillow, one by one, one-hot"
    return [
        claim("ready batches, one-hot maps", "onehot", "theirs", peers, READY),
        claim("ready batches, coloured maps (the default)", "colour", "theirs", peers, READY),
        claim("the bare gather: a GPU run's host does no more", "gathered", "opened", "opening the PNGs", GATHERED),
    ]


def _agree(images: ImageFolder, suite: FaceSRDataModule) -> None:
    """Checks that both sides give the same faces."""
    ours: Any = suite.preview("train", 4)
    for number in range(4):
        for name, tensor in images[number].items():
            torch.testing.assert_close(ours[name][number].contiguous(), tensor)


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    options = arguments(__doc__)
    options.add_argument("--faces", type=int, default=1024)
    options.add_argument("--batch-size", type=int, default=32)
    return options


if __name__ == "__main__":
    chosen = parser().parse_args()
    torch.set_num_threads(chosen.threads)
    report(claims(chosen), chosen)
