"""The store: what is written is read back, and damage is noticed."""

import json

import numpy as np
import pytest

from pkdn_lightning.data.store import Entry, FaceStore, verify_store
from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare.store_writer import StoreWriter
from tests.conftest import COUNTS, write_store


def face(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (8, 8, 3), dtype=np.uint8), draw.integers(0, 19, (8, 8), dtype=np.uint8)


def test_round_trip(tmp_path):
    landmarks = np.arange(136, dtype=np.float32).reshape(68, 2)
    with StoreWriter(tmp_path / "s", name="mine", size_px=8, with_landmarks=True, provenance={"a": 1}) as writer:
        writer.add(Entry("a", "train", "a.png", "7"), *face(1), landmarks)
        writer.add(Entry("b", "test"), *face(2), landmarks)
        writer.finish()
    store = FaceStore.open(tmp_path / "s")
    assert (store.name, store.size_px, store.manifest["provenance"]) == ("mine", 8, {"a": 1})
    assert store.entries[0] == Entry("a", "train", "a.png", "7")
    np.testing.assert_array_equal(store.hr[1], face(2)[0])
    np.testing.assert_array_equal(store.parsing[0], face(1)[1])
    np.testing.assert_array_equal(store.landmarks[1], landmarks)
    assert store.indices("test").tolist() == [1]


def test_three_lines_of_numpy_read_it(store):
    hr = np.load(store.path / "hr.npy", mmap_mode="r")
    parsing = np.load(store.path / "parsing.npy", mmap_mode="r")
    assert (hr.shape, parsing.shape) == ((sum(COUNTS.values()), 32, 32, 3), (sum(COUNTS.values()), 32, 32))


def test_the_same_faces_give_the_same_hash(tmp_path, store):
    assert write_store(tmp_path / store.path.name).sha256 == store.sha256
    assert write_store(tmp_path / "bare", with_parsing=False).sha256 != store.sha256


@pytest.mark.parametrize("read", [FaceStore.open, verify_store])
def test_a_half_made_store_is_none(tmp_path, read):
    with StoreWriter(tmp_path / "s", name="s", size_px=8) as writer:
        writer.add(Entry("a", "train"), *face(1))
        writer.commit()
        writer.seal()
    with pytest.raises(DataError, match="No store at .*: it does not exist"):
        read(tmp_path / "s")
    with pytest.raises(DataError, match=r"No store at .*s\.partial: no manifest\.json in it"):
        read(tmp_path / "s.partial")


@pytest.mark.parametrize("name", ["hr.npy", "parsing.npy", "index.csv"])
def test_a_changed_file_is_named(tmp_path, name):
    path = write_store(tmp_path / "s").path
    content = bytearray((path / name).read_bytes())
    content[-2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is not the file that was prepared"):
        FaceStore.open(path)
    with pytest.raises(DataError, match=name):
        verify_store(path)


def test_a_missing_file_is_named(tmp_path):
    path = write_store(tmp_path / "s").path
    (path / "parsing.npy").unlink()
    with pytest.raises(DataError, match=r"parsing\.npy is missing"):
        FaceStore.open(path)


def test_verification_happens_once(tmp_path, monkeypatch):
    path = write_store(tmp_path / "s").path
    FaceStore.open(path)
    monkeypatch.setattr("pkdn_lightning.files.file_sha256", lambda file: pytest.fail("hashed again"))
    FaceStore.open(path)


def test_a_manifest_of_another_version(tmp_path):
    path = write_store(tmp_path / "s").path
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(DataError, match="version 99"):
        FaceStore.open(path)
    (path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        FaceStore.open(path)


def test_an_empty_split_tells_what_there_is(tmp_path):
    store = write_store(tmp_path / "s", counts={"test": 2})
    with pytest.raises(DataError, match="no faces in split 'train'. It has: train 0, val 0, test 2"):
        store.indices("train")
