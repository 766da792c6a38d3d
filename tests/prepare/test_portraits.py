"""The included portraits: what is packed, parts of it, and what happens if the file is damaged."""

import numpy as np
import pytest

from pkdn_lightning.config import compose
from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare.pipeline import ensure_store
from pkdn_lightning.prepare.sources import portraits
from pkdn_lightning.prepare.sources.portraits import PACKED, PortraitsSource

_MOST_BYTES = 10_000_000  # of the packed file


def test_what_is_packed():
    source = PortraitsSource()
    entries = [each.entry for each in source.candidates()]
    assert [sum(entry.split == split for entry in entries) for split in ("train", "val", "test")] == [856, 60, 100]
    assert len({entry.identity for entry in entries}) == len(entries)  # so no person is in two splits
    assert PACKED.stat().st_size < _MOST_BYTES
    face = source.read(source.candidates()[-1])
    assert (face.hr.shape, face.parsing.shape, face.landmarks.shape) == ((128, 128, 3), (128, 128), (68, 2))


def test_a_part_of_it_in_another_size_is_made_at_first_use(tmp_path):
    few = ["data.source.train=3", "data.source.val=0", "data.source.test=2", "data.source.size_px=32"]
    data = compose("train", ["data=portraits", *few]).data
    ensure_store(data)
    store = FaceStore.open(tmp_path / "stores/portraits")
    assert store.manifest["splits"] == {"train": 3, "val": 0, "test": 2}
    assert store.hr.shape == (5, 32, 32, 3)
    nose = np.argwhere(store.parsing[0] == LABELS.index("nose")).mean(axis=0)[::-1]
    assert np.abs(store.landmarks[0, 27:36].mean(axis=0) - nose).max() < 2  # px: landmarks and maps agree
    made = (store.path / "manifest.json").stat().st_mtime_ns
    ensure_store(data)
    assert (store.path / "manifest.json").stat().st_mtime_ns == made
    data.source.size_px = 64
    with pytest.raises(DataError, match=r"was made with other options: .*32.* instead of .*64"):
        ensure_store(data)


def read_first():
    source = PortraitsSource()
    return source.read(source.candidates()[0])


@pytest.mark.parametrize("damage", ["missing", "cut", "no archive", "changed"])
def test_a_damaged_file_is_named(damage, tmp_path, monkeypatch):
    file = tmp_path / "portraits.zip"
    content = bytearray(PACKED.read_bytes())
    if damage == "changed":
        content[3000:3004] = b"\0\0\0\0"  # within the first face
    if damage != "missing":
        file.write_bytes({"cut": content[:5000], "no archive": b"hello"}.get(damage, content))
    monkeypatch.setattr(portraits, "PACKED", file)
    portraits._opened.cache_clear()
    with pytest.raises(DataError, match=r"portraits.zip.*\n.*pip install"):
        read_first()
    portraits._opened.cache_clear()
