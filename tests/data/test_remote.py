"""Stores in object storage: fetched once, gone on with, verified; fsspec's own memory file system stands in."""

import json

import fsspec
import numpy as np
import pytest

from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.remote import cached, is_remote
from pkdn_lightning.data.store import FaceStore, verify_store
from pkdn_lightning.errors import DataError

URL = "memory://bucket/drawn"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PKDN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def remote(store):
    files = fsspec.filesystem("memory")
    files.put(f"{store.path}/*", "/bucket/drawn/")
    yield files
    files.rm("/bucket", recursive=True)


def test_a_url_is_told_from_a_path():
    assert is_remote("s3://bucket/celeba")
    assert not is_remote("stores/celeba")


def test_a_remote_store_reads_as_the_local_one(remote, store):
    found = FaceStore.open(URL)
    np.testing.assert_array_equal(found.hr, store.hr)
    np.testing.assert_array_equal(found.parsing, store.parsing)
    assert (found.entries, found.sha256) == (store.entries, store.sha256)


def test_it_is_fetched_once(remote):
    first = cached(URL)
    for name in ("hr.npy", "parsing.npy", "index.csv"):
        remote.rm(f"/bucket/drawn/{name}")
    assert cached(URL) == first
    verify_store(URL)


def test_an_interrupted_fetch_goes_on(remote, store):
    folder = cached(URL)
    whole = (folder / "hr.npy").read_bytes()
    (folder / "hr.npy").unlink()
    # The first half was there already; were it fetched again, it would lose its mark, which the hash then finds.
    (folder / "hr.npy.part").write_bytes(b"mark" + whole[4 : len(whole) // 2])
    with pytest.raises(DataError, match=r"hr\.npy is not the file that was prepared"):
        FaceStore.open(URL)
    assert (cached(URL) / "hr.npy").read_bytes() == b"mark" + whole[4:]


def test_a_store_made_anew_is_fetched_anew(remote):
    first = cached(URL)
    manifest = json.loads(remote.cat("/bucket/drawn/manifest.json"))
    manifest["sha256"]["hr.npy"] = "0" * 64
    remote.pipe("/bucket/drawn/manifest.json", json.dumps(manifest).encode())
    assert cached(URL) != first


def test_training_reads_it(remote, store):
    data = FaceSRDataModule(URL, scale=4, batch_size=4)
    data.setup("fit")
    assert data.store.sha256 == store.sha256


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://bucket/nothing", r"No store at memory://bucket/nothing: there is no manifest\.json"),
        ("nonsense://bucket/drawn", "nonsense://bucket/drawn cannot be read: Protocol not known"),
    ],
)
def test_what_is_not_there_is_named(url, message):
    with pytest.raises(DataError, match=message):
        FaceStore.open(url)


def test_a_spoilt_manifest_is_named(remote):
    remote.pipe("/bucket/drawn/manifest.json", b"{}")
    with pytest.raises(DataError, match="memory://bucket/drawn cannot be read"):
        FaceStore.open(URL)
