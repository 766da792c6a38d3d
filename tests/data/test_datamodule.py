"""Batches: complete, shuffled by seed, mirrored in step, resumable, shared among processes."""

import numpy as np
import pytest
import torch

from pkdn_lightning.data.augmentation import Augmentation
from pkdn_lightning.data.batches import OrderedBatchSampler, Plan, ShuffledBatchSampler, StoreDataset, prepare_batch
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.parsing import encode, mirror
from pkdn_lightning.errors import ConfigError, DataError, ShapeError

ROWS = np.arange(100, 123)


def rows_of(plans) -> list[int]:
    return [int(row) for plan in plans for row in plan.row]


class TestShuffledPlans:
    def test_every_row_at_most_once_per_pass(self):
        rows = rows_of(ShuffledBatchSampler(ROWS, 4))
        assert len(rows) == len(set(rows)) == 20
        assert set(rows) <= set(ROWS.tolist())

    def test_passes_and_seeds_differ_and_repeat(self):
        first = rows_of(ShuffledBatchSampler(ROWS, 4, seed=1))
        assert first == rows_of(ShuffledBatchSampler(ROWS, 4, seed=1))
        assert first != rows_of(ShuffledBatchSampler(ROWS, 4, seed=2))
        assert first != rows_of(ShuffledBatchSampler(ROWS, 4, seed=1, batches_seen=lambda: 5))

    def test_starting_in_the_middle_continues_the_stream(self):
        whole = [
            *ShuffledBatchSampler(ROWS, 4, flip_probability=0.5),
            *ShuffledBatchSampler(ROWS, 4, flip_probability=0.5, batches_seen=lambda: 5),
        ]
        resumed = list(ShuffledBatchSampler(ROWS, 4, flip_probability=0.5, batches_seen=lambda: 3))
        for expected, found in zip(whole[3:8], resumed, strict=True):
            np.testing.assert_array_equal(expected.row, found.row)
            np.testing.assert_array_equal(expected.mirrored, found.mirrored)

    def test_processes_share_without_overlap(self):
        parts = [rows_of(ShuffledBatchSampler(ROWS, 4, rank=rank, world_size=2)) for rank in (0, 1)]
        assert len(parts[0]) == len(parts[1]) == 8
        assert not set(parts[0]) & set(parts[1])

    def test_processes_toss_coins_of_their_own(self):
        first, second = (
            [plan.mirrored.tolist() for plan in ShuffledBatchSampler(
                np.arange(64), 8, flip_probability=0.5, rank=rank, world_size=2
            )]
            for rank in (0, 1)
        )  # fmt: skip
        assert first != second

    def test_a_small_store_makes_a_small_batch(self):
        assert [len(plan.row) for plan in ShuffledBatchSampler(ROWS[:3], 8)] == [3]

    def test_flip_probability(self):
        flips = np.concatenate(
            [plan.mirrored for plan in ShuffledBatchSampler(np.arange(2000), 10, flip_probability=0.25)]
        )
        assert 0.2 < flips.mean() < 0.3
        assert not any(plan.mirrored.any() for plan in ShuffledBatchSampler(ROWS, 4))

    def test_dropped_maps(self):
        def plans(share):
            sampler = ShuffledBatchSampler(
                np.arange(2000), 10, flip_probability=0.5, augmentation=Augmentation(zoom_in=0.1), parsing_dropout=share
            )
            return list(sampler)

        kept, dropped, again = plans(0.0), plans(0.25), plans(0.25)
        assert all(plan.mapless is None for plan in kept)
        assert 0.2 < np.concatenate([plan.mapless for plan in dropped]).mean() < 0.3
        for a, b, c in zip(kept, dropped, again, strict=True):  # everything else is the same
            assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("row", "mirrored", "view"))
            assert np.array_equal(b.mapless, c.mapless)


def test_ordered_plans_visit_all_rows_once_over_processes():
    assert rows_of(OrderedBatchSampler(ROWS, 4)) == ROWS.tolist()
    parts = [rows_of(OrderedBatchSampler(ROWS, 4, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(row for part in parts for row in part) == ROWS.tolist()
    assert len(OrderedBatchSampler(ROWS, 4)) == len(list(OrderedBatchSampler(ROWS, 4))) == 6


def test_finish_batch_mirrors_face_and_map_together(store):
    raw = {
        "hr": torch.from_numpy(store.hr[:2].copy()),
        "parsing": torch.from_numpy(store.parsing[:2].copy()),
        "row": torch.tensor([0, 1]),
        "mirrored": torch.tensor([False, True]),
    }
    batch = prepare_batch(raw, scale=4, degradation="pil", encoding="onehot")
    hr = raw["hr"].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(batch["hr"][0], hr[0])
    torch.testing.assert_close(batch["hr"][1], hr[1].flip(-1))
    torch.testing.assert_close(batch["lr"], degrade(batch["hr"], 4, "pil"))
    torch.testing.assert_close(batch["parsing"][1], encode(mirror(raw["parsing"][1:]), "onehot")[0])


def test_a_batch_of_which_nothing_is_mirrored_need_not_say_so(store):
    rows = np.arange(2)
    quiet, told = (StoreDataset(store)[Plan(rows, np.array(mirrored))] for mirrored in ([False] * 2, [False, True]))
    assert "mirrored" not in quiet
    finished = [prepare_batch(raw, scale=4, degradation="pil", encoding="colour") for raw in (quiet, told)]
    assert all(torch.equal(finished[0][key][0], finished[1][key][0]) for key in ("lr", "hr", "parsing"))


def test_loaders(store):
    data = FaceSRDataModule(store.path, scale=4, batch_size=4, eval_batch_size=2)
    train = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    assert [tuple(batch["lr"].shape) for batch in train] == [(4, 3, 8, 8)] * 3
    assert train[0]["parsing"].shape == (4, 3, 32, 32)
    val = [data.on_after_batch_transfer(batch, 0) for batch in data.val_dataloader()]
    assert [len(batch["hr"]) for batch in val] == [2, 1]
    (test,) = data.test_dataloader()
    assert sum(len(batch["row"]) for batch in test) == 5


def test_resident_faces_are_the_same_faces(store):
    there, here = (FaceSRDataModule(store.path, scale=4, batch_size=4, seed=3, resident=r) for r in (True, False))
    for a, b in zip(there.train_dataloader(), here.train_dataloader(), strict=True):
        assert "hr" not in a
        torch.testing.assert_close(there.on_after_batch_transfer(a, 0), here.on_after_batch_transfer(b, 0))


def test_worker_processes_give_the_same_batches(store):
    data, direct = (FaceSRDataModule(store.path, scale=4, batch_size=4, num_workers=n) for n in (1, 0))
    for a, b in zip(data.train_dataloader(), direct.train_dataloader(), strict=True):
        assert torch.equal(a["row"], b["row"])
        assert torch.equal(a["hr"], b["hr"])


class TestErrors:
    def test_teacher_without_maps(self, bare_store):
        data = FaceSRDataModule(bare_store.path, scale=4, require_parsing=True)
        with pytest.raises(DataError, match="(?s)no parsing maps.*objective=reconstruction"):
            _ = data.store

    def test_no_store(self, tmp_path):
        with pytest.raises(DataError, match="No store at"):
            FaceSRDataModule(tmp_path / "none").train_dataloader()

    def test_scale_that_does_not_divide(self, store):
        with pytest.raises(ConfigError, match="scale=5"):
            _ = FaceSRDataModule(store.path, scale=5).store
        with pytest.raises(ShapeError, match="scale 5"):
            degrade(torch.rand(1, 3, 32, 32), 5)

    @pytest.mark.parametrize("values", [{"batch_size": 0}, {"flip_probability": 1.5}, {"parsing_dropout": -0.1}])
    def test_impossible_values(self, store, values):
        with pytest.raises(ConfigError, match=next(iter(values))):
            FaceSRDataModule(store.path, **values)


def test_a_dropped_map_is_that_of_an_empty_face_in_training_only(store):
    def batches(share, **damage):
        data = FaceSRDataModule(store.path, scale=4, batch_size=4, parsing_dropout=share, **damage)
        loaders = data.train_dataloader(), data.val_dataloader()
        return [[data.on_after_batch_transfer(raw, 0) for raw in loader] for loader in loaders]

    (some, val), (full, full_val), (empty, _) = batches(0.5), batches(0.0), batches(0.0, parsing_damage="empty")
    assert all(torch.equal(a["parsing"], b["parsing"]) for a, b in zip(val, full_val, strict=True))
    counts = [0, 0]
    for a, b, c in zip(some, full, empty, strict=True):
        assert torch.equal(a["lr"], b["lr"])
        for face, true, none in zip(a["parsing"], b["parsing"], c["parsing"], strict=True):
            counts = [count + torch.equal(face, other) for count, other in zip(counts, (true, none), strict=True)]
    assert min(counts) > 0
    assert sum(counts) == 12


def test_a_damaged_map_reaches_the_network_and_nothing_else_changes(store):
    faces = {
        kind: FaceSRDataModule(store.path, scale=4, parsing_damage=kind).preview("val", 3)
        for kind in ("none", "shuffled", "displaced", "blurred")
    }
    for kind, batch in faces.items():
        assert torch.equal(batch["lr"], faces["none"]["lr"])
        assert torch.equal(batch["hr"], faces["none"]["hr"])
        assert torch.equal(batch["parsing"], faces["none"]["parsing"]) == (kind == "none")


def test_kept_lr_is_the_lr_of_the_mirrored_face(store, monkeypatch):
    def batches(module):
        return [module.on_after_batch_transfer(raw, 0) for _ in range(2) for raw in module.train_dataloader()]

    kept = batches(FaceSRDataModule(store.path, batch_size=4, flip_probability=0.5))
    monkeypatch.setattr("pkdn_lightning.data.lr_cache.MAX_BYTES", 0)
    made = batches(FaceSRDataModule(store.path, batch_size=4, flip_probability=0.5))
    assert len(kept) == len(made) > 2
    for ours, theirs in zip(kept, made, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
