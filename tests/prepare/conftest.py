"""A small source, and what a store made of it holds."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare.pipeline import Job, prepare_store
from pkdn_lightning.prepare.source import Face

ROOT = Path(__file__).parents[2]


class Number(NamedTuple):
    entry: Entry
    number: int


class Tiny:
    """Faces of noise with awkward names; every eleventh photograph is rejected.

    Args:
        wanted: Faces that each split takes at most.
        bad: Every so many photographs one is rejected.
        maps: Whether there are parsing maps.
        marks: Whether there are landmarks.
        fails_at: Reading this photograph fails as nothing foreseen does.
        pause: Seconds that reading takes.
    """

    def __init__(self, *, train=150, val=40, test=30, size_px=8, seed=0, wanted=None, bad=11, maps=True, marks=True,
                 fails_at=-1, pause=0.0):  # fmt: skip
        self.counts, self.size_px, self.seed = {"train": train, "val": val, "test": test}, size_px, seed
        self.wanted, self.bad, self.fails_at, self.pause = wanted or {}, bad, fails_at, pause
        self.with_parsing, self.with_landmarks = maps, marks

    def candidates(self, *, dry=False):
        splits = (split for split, count in self.counts.items() for _ in range(count))
        return [
            Number(Entry(f'{n}, "Zoë"\n/å' if n % 10 == 3 else f"{n:05d}", split, f"p/{n}", f"who {n % 7}"), n)
            for n, split in enumerate(splits)
        ]

    def quotas(self):
        return self.wanted

    def read(self, candidate):
        number, size = candidate.number, self.size_px
        if self.pause:
            time.sleep(self.pause)
        if number == self.fails_at:
            raise RuntimeError("never foreseen")
        if number % self.bad == self.bad - 1:
            raise Rejected("too_small" if number % 2 else "no_face", f'"{number}", of\nthem: ü')
        draw = np.random.default_rng((self.seed, number))
        return Face(
            draw.integers(0, 256, (size, size, 3), dtype=np.uint8),
            draw.integers(0, 19, (size, size), dtype=np.uint8) if self.with_parsing else None,
            draw.random((68, 2), dtype=np.float32) if self.with_landmarks else None,
        )

    def provenance(self):
        return {"source": "tiny", "seed": self.seed, "bad": self.bad, "faces_wanted": dict(self.wanted)}


class BatchParser:
    """A parser whose maps depend on every face it is given at once, and on their order."""

    def parse(self, names, faces):
        digest = hashlib.sha256("".join(names).encode() + b"".join(face.tobytes() for face in faces)).digest()
        return [
            Rejected("no_map", name) if place % 20 == 19 else (face[..., 0] // 16 + digest[place % 32]) % np.uint8(19)
            for place, (name, face) in enumerate(zip(names, faces, strict=True))
        ]

    def provenance(self):
        return {"parser": "batch"}


class Landmarker:
    def find(self, hr):
        if hr[0, 0, 0] < 8:
            raise Rejected("no_landmarks", "too dark")
        return np.full((68, 2), hr[0, 0, 0], dtype=np.float32)

    def provenance(self):
        return {"landmarks": "flat"}


QUOTAS = {"train": 50, "val": 40}


def make(path: Path, job: Job | None = None, *, workers: int = 0, **options) -> FaceStore:
    return prepare_store(job or Job(Tiny(**options), "tiny"), path, workers=workers, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store, but for the stamp that says when it was verified."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if not file.name.startswith(".verified")}


def left_beside(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.iterdir() if other != path)


def run_code(code: str, cwd: Path, *, expected: int = 0) -> subprocess.CompletedProcess:
    """Runs code in a process of its own, to which this package of tests is known."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    command, env = [sys.executable, "-c", code], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == expected, done.stderr
    return done
