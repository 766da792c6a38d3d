"""Row 1: batches ready for the network, against KDFSRNet's folders of PNGs and against arrays in memory.

    python benchmarks/loader.py

All give HR, LR and coloured parsing maps of the same portraits in float32, in one process, and mirror half of the faces
as `recipe=fast` does. KDFSRNet's dataset class, written again from its description: Pillow opens HR, LR and map, three
PNGs of the size of HR, mirrored or turned by 90 degrees; `ToTensor` converts them, a DataLoader stacks. The arrays in
memory hold 8-bit HR, LR made beforehand, and maps.
"""

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timing import Claim, arguments, compared, interleaved, report
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.data.labels import PALETTE
from pkdn_lightning.data.parsing import encode, mirror
from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.hardware import keep_freed_memory
from pkdn_lightning.prepare.store_writer import StoreWriter

READY, GATHERED, IN_MEMORY = 15.0, 40.0, 1.0
FLIPPED = 0.5


class ImageFolder(Dataset[dict[str, Tensor]]):
    """KDFSRNet's data: HR, LR enlarged to the size of HR, and coloured maps as PNG files.

    Args:
        folder: Where the files are.
        augment: Mirrors faces or turns them by 90 degrees, at random.
    """

    def __init__(self, folder: Path, *, augment: bool) -> None:
        self.files, self.augment = sorted(folder.glob("*_hr.png")), augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        file = self.files[index]
        parts = [Image.open(_beside(file, kind)).convert("RGB") for kind in ("hr", "lr", "parsing")]
        if self.augment:
            mirrored, turned = random.random() < 0.5, random.random() < 0.5  # the same for all three
            if mirrored:
                parts = [part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in parts]
            if turned:
                parts = [part.transpose(Image.Transpose.ROTATE_90) for part in parts]
        return dict(zip(("hr", "lr", "parsing"), map(_tensor, parts), strict=True))


def _beside(file: Path, kind: str) -> Path:
    return file.with_name(file.name.replace("_hr", f"_{kind}"))


def _tensor(image: Image.Image) -> Tensor:
    """Returns what torchvision's ToTensor does."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)


class InMemory:
    """Batches of arrays in memory, with LR made beforehand; the least that a loader can do.

    Args:
        store: The faces.
        batch_size: Faces per batch.
    """

    def __init__(self, store: FaceStore, batch_size: int) -> None:
        assert store.parsing is not None
        self.batch_size = batch_size
        self.hr, self.parsing = torch.tensor(store.hr), torch.tensor(store.parsing)
        self.lr = (degrade(self.hr.permute(0, 3, 1, 2), 8) * 255).round().to(torch.uint8)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for rows in torch.randperm(len(self.hr)).split(self.batch_size):
            chosen = (torch.rand(len(rows)) < FLIPPED).nonzero().flatten()
            hr = _mirrored(self.hr.index_select(0, rows), chosen, lambda faces: faces.flip(-2))
            lr = _mirrored(self.lr.index_select(0, rows), chosen, lambda faces: faces.flip(-1))
            parsing = _mirrored(self.parsing.index_select(0, rows), chosen, mirror)
            yield {"hr": hr.permute(0, 3, 1, 2).float().div_(255), "lr": lr / 255, "parsing": encode(parsing, "colour")}


def _mirrored(faces: Tensor, chosen: Tensor, flip: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns faces, the chosen ones flipped; written again here, so that the baseline is none of the suite's."""
    parts = list(faces.unbind())
    for place, face in zip(chosen.tolist(), flip(faces.index_select(0, chosen)).unbind(), strict=True):
        parts[place] = face
    return torch.stack(parts)


def make(folder: Path, count: int) -> FaceStore:
    """Writes the same faces as images and as a store, which is returned."""
    (folder / "images").mkdir()
    with StoreWriter(folder / "store", name="portraits") as writer:
        for number, face in zip(range(count), cycle(portraits("train", 256)), strict=False):
            writer.add(Entry(f"{number:06d}", "train"), face.hr, face.parsing)
            hr = Image.fromarray(face.hr)
            lr = hr.resize((hr.width // 8, hr.height // 8), Image.Resampling.BICUBIC)
            colours = Image.fromarray(np.array(PALETTE, np.uint8)[face.parsing])
            for kind, image in (("hr", hr), ("lr", lr.resize(hr.size, Image.Resampling.BICUBIC)), ("parsing", colours)):
                image.save(folder / "images" / f"{number:06d}_{kind}.png")
        writer.finish()
    return FaceStore.open(folder / "store")


def claims(options: argparse.Namespace) -> list[Claim]:
    """Measures ready batches with and without flips, and the bare gather."""
    keep_freed_memory()  # as train does
    with tempfile.TemporaryDirectory() as place:
        store = make(Path(place), options.faces)
        folders = {augment: ImageFolder(Path(place) / "images", augment=augment) for augment in (False, True)}
        theirs = {augment: DataLoader(each, options.batch_size, shuffle=True) for augment, each in folders.items()}
        ours = {
            share: FaceSRDataModule(store.path, batch_size=options.batch_size, flip_probability=share)
            for share in (0.0, FLIPPED)
        }
        memory = InMemory(store, options.batch_size)
        _agree(folders[False], ours[0.0])

        def served(share: float, *, ready: bool = True) -> Callable[[], None]:
            def work() -> None:
                for raw in ours[share].train_dataloader():
                    if ready:
                        ours[share].on_after_batch_transfer(raw, 0)

            return work

        def opened() -> None:
            for file in folders[False].files:
                for kind in ("hr", "parsing"):
                    np.array(Image.open(_beside(file, kind)).convert("RGB"))

        taken = interleaved(
            {
                "theirs": lambda: [None for _ in theirs[False]],
                "theirs, flipped": lambda: [None for _ in theirs[True]],
                "memory, flipped": lambda: [None for _ in memory],
                "opened": opened,
                "ours": served(0.0),
                "ours, flipped": served(FLIPPED),
                "gathered": served(0.0, ready=False),
            },
            options.rounds,
        )
    rate = {name: f"{options.faces / min(each):,.0f}" for name, each in taken.items()}

    def claim(what: str, ours: str, theirs: str, against: str, target: float) -> Claim:
        note = f"{rate[ours]} faces a CPU second, theirs {rate[theirs]}"
        return Claim("1", what, against, *compared(taken[theirs], taken[ours]), target, note=note)

    peers = "KDFSRNet's dataset class"
    return [
        claim("ready batches", "ours", "theirs", peers, READY),
        claim("ready batches, half of them mirrored", "ours, flipped", "theirs, flipped", f"{peers}, flips", READY),
        claim("the same", "ours, flipped", "memory, flipped", "arrays in memory, LR made beforehand", IN_MEMORY),
        claim("the bare gather: a GPU run's host does no more", "gathered", "opened", "opening the PNGs", GATHERED),
    ]


def _agree(images: ImageFolder, suite: FaceSRDataModule) -> None:
    """Checks that both sides give the same faces, and LR up to its enlargement, which is the network's here."""
    ours: Any = suite.preview("train", 4)
    ours["lr"] = enlarge(ours["lr"], 8)
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
