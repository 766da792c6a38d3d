"""Drawn faces as a source: disjoint splits, repeatable."""

import numpy as np

from pkdn_lightning.data.synthetic import draw_face
from pkdn_lightning.prepare.pipeline import Job, prepare_store
from pkdn_lightning.prepare.sources.synthetic import SyntheticSource


def test_a_store_of_drawn_faces(tmp_path):
    source = SyntheticSource(train=3, val=1, test=2, size_px=32, seed=4)
    store = prepare_store(Job(source, "drawn"), tmp_path / "drawn", workers=0, progress=False)
    assert dict(store.manifest["splits"]) == {"train": 3, "val": 1, "test": 2}
    assert [entry.split for entry in store.entries] == ["train"] * 3 + ["val"] + ["test"] * 2
    assert store.entries[4].source == "drawn with seed 4"
    face = draw_face(4, seed=4, size_px=32)
    np.testing.assert_array_equal(store.hr[4], face.hr)
    np.testing.assert_array_equal(store.parsing[4], face.parsing)
    np.testing.assert_array_equal(store.landmarks[4], face.landmarks)
    again = prepare_store(Job(source, "drawn"), tmp_path / "again", workers=0, progress=False)
    assert again.sha256 == store.sha256
