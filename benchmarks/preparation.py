"""What preparing a photograph costs, stage by stage, what bounds it, and how memory grows with the number of faces.

    python benchmarks/preparation.py                                   decode, crop, detect, pack, look
    python benchmarks/preparation.py --weights 79999_iter.pth          and parse
    python benchmarks/preparation.py --memory 100 10000 100000         peak memory of the whole for so many faces

The photographs are made here: included portraits in larger images, saved as JPEG. Stages are timed in turns on the same
photographs, so that a busy machine slows all of them alike; the least of the rounds counts.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from pkdn_lightning.data.portraits import portraits
from pkdn_lightning.data.store import Entry
from pkdn_lightning.faces.crop import crop_rule, cut
from pkdn_lightning.faces.images import open_photograph
from pkdn_lightning.prepare.duplicates import perceptual_hash
from pkdn_lightning.prepare.pipeline import Job, prepare_store
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.prepare.sources.photographs import PhotosSource
from pkdn_lightning.prepare.sources.portraits import Candidate
from pkdn_lightning.prepare.store_writer import StoreWriter

PHOTO_PX = (640, 800)
FACE_PX = 128
ROUNDS = 3


def make_photographs(folder: Path, count: int) -> list[tuple[Path, np.ndarray]]:
    """Writes photographs of one face each and returns their files and five landmarks."""
    made = []
    for number, face in zip(range(count), cycle(portraits("train", 128, size_px=256)), strict=False):
        draw = np.random.default_rng(number)
        coarse = draw.integers(60, 200, (10, 8, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize(PHOTO_PX, Image.Resampling.BICUBIC)
        x, y = int(draw.integers(50, 300)), int(draw.integers(50, 400))
        photo.paste(Image.fromarray(face.hr), (x, y))
        file = folder / f"{number:06d}.jpg"
        photo.save(file, quality=92)
        marks = face.landmarks + np.array([x, y])
        five = [marks[36:42].mean(0), marks[42:48].mean(0), marks[30], marks[48], marks[54]]
        made.append((file, np.array(five, dtype=np.float32)))
    return made


def stages(  # noqa: C901  # one small function per stage
    photographs: list[tuple[Path, np.ndarray]], weights: str | None, threads: int
) -> dict[str, tuple[Callable[[], None], str]]:
    """Returns what is timed, each over all photographs, and what bounds it."""
    images = [open_photograph(file) for file, _ in photographs]
    dic, detector = crop_rule("dic", None), crop_rule("detector", None)
    boxes = [dic.box(image, points) for image, (_, points) in zip(images, photographs, strict=True)]
    faces = [cut(image, box, FACE_PX) for image, box in zip(images, boxes, strict=True)]
    labels = np.zeros((FACE_PX, FACE_PX), dtype=np.uint8)

    def decode() -> None:
        for file, _ in photographs:
            open_photograph(file)

    def crop() -> None:
        for image, (_, points) in zip(images, photographs, strict=True):
            cut(image, dic.box(image, points), FACE_PX)

    def detect() -> None:
        for image in images:
            detector.box(image, None)

    def pack() -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            StoreWriter(Path(folder, "s"), name="s", plan={"n": len(faces)}) as writer,
        ):
            for number, face in enumerate(faces):
                writer.add(Entry(str(number), "train"), face, labels)
                if number % 64 == 63:
                    writer.commit()
            writer.finish()

    def look() -> None:
        for face in faces:
            perceptual_hash(face)

    pixels = PHOTO_PX[0] * PHOTO_PX[1] / 1e6
    found: dict[str, tuple[Callable[[], None], str]] = {
        "decode": (decode, f"libjpeg, {pixels:.2f} megapixels"),
        "crop (dic) and resize": (crop, "Pillow's resize; memory bandwidth"),
        "crop by detector": (detect, f"MTCNN in OpenCV at {PHOTO_PX[1] * 640 // max(PHOTO_PX)} px, one thread"),
        "pack": (pack, "disk: fsync every 64 faces, then SHA-256"),
        "look (hash for duplicates)": (look, "Pillow's resize"),
    }
    if weights:
        from pkdn_lightning.faces.parser import BiSeNetParser

        parser = BiSeNetParser(weights=weights, threads=threads)
        names = [str(number) for number in range(len(faces))]
        parser.parse(names[:1], faces[:1])  # loads the weights
        found["parse (BiSeNet at 512)"] = (
            lambda: parser.parse(names, faces) and None,
            f"convolutions, {parser.provenance()['precision']}, {threads} thread(s)",
        )
    return found


def show_stages(console: Console, count: int, weights: str | None, threads: int) -> None:
    """Prints the cost of each stage, and of the whole with worker processes."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photographs")
        root.mkdir()
        photographs = make_photographs(root, count)
        timed = stages(photographs, weights, threads)
        best = dict.fromkeys(timed, float("inf"))
        for _ in range(ROUNDS):
            for name, (work, _) in timed.items():
                begin = time.perf_counter()
                work()
                best[name] = min(best[name], time.perf_counter() - begin)
        table = Table(title=f"{count} photographs of {PHOTO_PX[0]}x{PHOTO_PX[1]}, faces of {FACE_PX} px, one process")
        for column in ("stage", "ms each", "per second", "bound by"):
            table.add_column(column, justify="left" if column in ("stage", "bound by") else "right")
        for name, (_, bound) in timed.items():
            each = best[name] / count
            table.add_row(name, f"{each * 1e3:.2f}", f"{1 / each:,.0f}", bound)
        console.print(table)
        rates = Table(title="the whole: decode, detect, crop, pack, sheets (parser=none)")
        for column in ("workers", "photographs per second", "ratio"):
            rates.add_column(column, justify="right")
        first = 0.0
        for workers in (0, 1, 2, os.cpu_count() or 1)[: 4 if (os.cpu_count() or 1) > 2 else 3]:
            begin = time.perf_counter()
            source = PhotosSource(str(root), min_side_px=0, val=0, test=0)
            prepare_store(Job(source, "s"), Path(folder, f"s{workers}"), workers=workers, progress=False)
            rate = count / (time.perf_counter() - begin)
            first = first or rate
            rates.add_row(str(workers), f"{rate:,.1f}", f"{rate / first:.2f}x")
        console.print(rates)


class _Painted:
    """Faces of one colour each: nothing but the pipeline itself is at work."""

    size_px, with_parsing, with_landmarks = 32, True, False

    def __init__(self, count: int) -> None:
        self.count = count

    def candidates(self, *, dry: bool = False) -> list[Candidate]:
        return [Candidate(Entry(f"{number:06d}", "train", "painted")) for number in range(self.count)]

    def quotas(self) -> dict[str, int]:
        return {}

    def read(self, candidate: Candidate) -> Face:
        draw = np.random.default_rng(int(candidate.entry.name))
        hr = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        return Face(hr, np.zeros((32, 32), dtype=np.uint8))

    def provenance(self) -> dict[str, str]:
        return {"source": "painted"}


def peak_memory(count: int) -> None:
    """Prints the peak memory of this process for a store of `count` faces, in MB, and the seconds it took."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        prepare_store(Job(_Painted(count), "painted"), Path(folder, "s"), workers=0, progress=False)
        took = time.perf_counter() - begin
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} {took:.1f}")


def show_memory(console: Console, counts: list[int]) -> None:
    """Prints peak memory against the number of faces, each measured in a process of its own."""
    table = Table(title="peak memory of preparing 32 px faces, no workers")
    for column in ("faces", "store MB", "peak MB", "ratio", "seconds"):
        table.add_column(column, justify="right")
    first = 0.0
    for count in counts:
        answer = subprocess.run(
            [sys.executable, __file__, "--peak", str(count)], capture_output=True, text=True, check=True
        )
        peak, took = (float(word) for word in answer.stdout.split())
        first = first or peak
        table.add_row(f"{count:,}", f"{count * 4096 / 1e6:,.1f}", f"{peak:.0f}", f"{peak / first:.2f}x", f"{took:.1f}")
    console.print(table)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", type=int, default=128)
    parser.add_argument("--weights", help="BiSeNet's weights; without them parsing is not measured")
    parser.add_argument("--threads", type=int, default=1, help="of BiSeNet")
    parser.add_argument("--memory", type=int, nargs="+", metavar="FACES", help="measure memory instead")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    console = Console(width=120)
    if arguments.peak:
        peak_memory(arguments.peak)
    elif arguments.memory:
        show_memory(console, arguments.memory)
    else:
        show_stages(console, arguments.photographs, arguments.weights, arguments.threads)


if __name__ == "__main__":
    main()
