"""The included portraits as a source: parts of them in another size, made at their first use."""

import numpy as np
import pytest

from pkdn_lightning.config import compose, conf_dir
from pkdn_lightning.data import portraits as packed
from pkdn_lightning.data.portraits import PACKED, names, portraits
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare.pipeline import ensure_store
from pkdn_lightning.prepare.sources.portraits import PortraitsSource

FEW = ["data=portraits", *(f"data.source.{key}" for key in ("train=3", "val=0", "test=2", "size_px=32"))]


def test_all_of_them_are_candidates_without_a_limit():
    entries = [each.entry for each in PortraitsSource().candidates()]
    assert [entry.name for entry in entries] == [name for split in ("train", "val", "test") for name in names(split)]
    assert all(entry.identity == entry.name for entry in entries)


def test_a_part_of_it_in_another_size_is_made_at_first_use(tmp_path):
    data = compose("train", FEW).data
    ensure_store(data)
    store = FaceStore.open(tmp_path / "stores/portraits")
    assert store.manifest["splits"] == {"train": 3, "val": 0, "test": 2}
    for row, face in enumerate([*portraits("train", 3, 32), *portraits("test", 2, 32)]):
        assert store.entries[row].name == face.name
        np.testing.assert_array_equal(store.hr[row], face.hr)
        np.testing.assert_array_equal(store.parsing[row], face.parsing)
        np.testing.assert_array_equal(store.landmarks[row], face.landmarks)
    made = (store.path / "manifest.json").stat().st_mtime_ns
    ensure_store(data)
    assert (store.path / "manifest.json").stat().st_mtime_ns == made
    data.source.size_px = 64
    with pytest.raises(DataError, match=r"options: .*32.* instead of .*64.*\nTo use it: data.source.size_px=32\n"):
        ensure_store(data)


def test_the_data_card_and_the_models_card_say_the_same(tmp_path):
    data = compose("train", FEW).data
    ensure_store(data)
    card = (tmp_path / "stores/portraits/card.md").read_text()
    models = (conf_dir().parent / "src/pkdn_lightning/models/included/README.md").read_text()
    for each in (card, models):
        for part in ("public domain", "unitedstates/images", "mostly white men over fifty in suits"):
            assert part in " ".join(each.split()), part
    assert "468e13ca13a9b43c" in card
    assert "to have a picture taken out, open an issue" in card


@pytest.mark.parametrize("damage", ["cut", "an image"])
def test_of_a_damaged_file_no_store_is_made(damage, tmp_path, monkeypatch):
    content = bytearray(PACKED.read_bytes())
    content[3000:3004] = bytes(4)  # within the first face
    (tmp_path / "portraits.zip").write_bytes(content[:5000] if damage == "cut" else content)
    monkeypatch.setattr(packed, "PACKED", tmp_path / "portraits.zip")
    packed._opened.cache_clear()
    with pytest.raises(DataError, match=r"portraits.zip.*\n.*pip install"):
        ensure_store(compose("train", FEW).data)
    packed._opened.cache_clear()
    assert not (tmp_path / "stores/portraits").exists()
