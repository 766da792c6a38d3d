"""Who trains, who validates, who tests: repeatable, and nobody in two splits."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from pkdn_lightning.data.store import Entry
from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare import splits as module
from pkdn_lightning.prepare.splits import Photograph, seeded_order, shared_identities, split_by_identity, split_by_list


def photo(name: str, split: str = "", identity: str = "", suffix: str = ".jpg") -> Photograph:
    return Photograph(Entry(name, split, f"{name}{suffix}", identity), f"/photos/{name}{suffix}")


def people(count: int, each: int) -> list[Photograph]:
    return [photo(f"{who:03d}_{shot}", identity=f"p{who}") for who in range(count) for shot in range(each)]


def splits(photographs) -> dict[str, str]:
    return {each.entry.name: each.entry.split for each in photographs}


def test_the_seeded_order_is_that_of_the_hashes():
    names = [f"{number:03d}" for number in range(50)]
    found = seeded_order(names, 3, str)
    assert found == sorted(names, key=lambda name: hashlib.sha256(f"3:{name}".encode()).hexdigest())
    assert found != seeded_order(names, 4, str)
    assert seeded_order(reversed(names), 3, str) == found
    assert seeded_order(names[::3], 3, str) == [name for name in found if name in names[::3]]
    assert sorted(seeded_order(["a", "\udcff", "b"], 0, str)) == ["a", "b", "\udcff"]


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 11), (50, 65), (100, 120), (1000, 1110)])
def test_the_reserve(count, kept):
    assert module.reserve(count) == kept


@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_in_two_splits(seed):
    found = split_by_identity(people(40, 5), {"val": 2, "test": 4}, seed)
    assert [each.entry.name for each in found] == [each.entry.name for each in people(40, 5)]
    assert shared_identities(found) == []
    counts = Counter(each.entry.split for each in found)
    assert counts == {"test": 15, "val": 15, "train": 170}  # whole people, until 14 and 12 are reached


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [
        (200, {"val": 5, "test": 3}, {"test": 13, "val": 15, "train": 172}),  # who has no identity is a person
        (60, {"val": 500, "test": 500}, {"test": 6, "val": 6, "train": 48}),  # a tenth at most
        (9, {"val": 5, "test": 5}, {"train": 9}),
        (60, {"val": None, "test": 0}, {"val": 6, "train": 54}),  # a tenth by default
        (10, {"train": 4, "val": 3, "test": 3}, {"train": 4, "val": 3, "test": 3}),  # to each its number
        (5, {"train": 4, "val": 3, "test": 3}, {"train": 3, "val": 1, "test": 1}),  # at least one
        (12, {"train": 5, "val": 100, "test": 100}, {"train": 6, "val": 3, "test": 3}),  # what training leaves
        (40, {"train": 90, "val": 9, "test": 2}, {"train": 34, "val": 4, "test": 2}),  # a tenth at least
        (2, {"train": 5, "val": 5, "test": 5}, {"train": 2}),
        (22, {"train": 4, "val": 3, "test": 3}, {"train": 8, "val": 7, "test": 7}),  # a reserve for each
    ],
)
def test_held_out_splits_have_their_number(count, wanted, expected):
    found = split_by_identity([photo(f"{number}") for number in range(count)], wanted, 0)
    assert Counter(each.entry.split for each in found) == expected


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_people_for_a_split_without_training_are_refused(count):
    with pytest.raises(DataError, match=rf"none is left for training.*take {count} known, p0.*\n.*identities=none"):
        split_by_identity(people(count, 20), {"val": 2, "test": 2}, 0)
    assert len(split_by_identity(people(count, 20), {"train": 0, "val": 2, "test": 2}, 0)) == count * 20
    assert {*splits(split_by_identity(people(3, 20), {"val": 2, "test": 2}, 0)).values()} == {"train", "val", "test"}


def test_another_number_of_test_faces_keeps_the_first_ones():
    photographs = [photo(f"{number}") for number in range(1000)]
    few, many = (split_by_identity(photographs, {"val": 0, "test": count}, 0) for count in (5, 50))
    few, many = ({name for name, split in splits(found).items() if split == "test"} for found in (few, many))
    assert (len(few), len(many)) == (15, 65)
    assert few < many


def test_only_a_split_of_which_some_are_wanted_is_shuffled():
    photographs = [photo(f"{number:02d}", ("train", "test")[number % 2]) for number in range(20)]
    found = [each.entry.name for each in module.by_split(photographs, {"train": None, "test": 3}, 0)]
    odd = [f"{number:02d}" for number in range(1, 20, 2)]
    assert found[:10] == [f"{number:02d}" for number in range(0, 20, 2)]
    assert found[10:] == seeded_order(odd, 0, str) != odd


def test_shared_identities():
    found = [photo("a", "train", "ann"), photo("b", "test", "ann"), photo("c", "val", "bob"), photo("d", "val", "bob")]
    assert shared_identities([*found, photo("e", "train"), photo("f", "test")]) == ["ann"]


def by_list(tmp_path: Path, photographs, text: str) -> list[tuple[str, str]]:
    (tmp_path / "list.csv").write_bytes(text.encode())
    found = split_by_list(photographs, tmp_path / "list.csv")
    return [(each.entry.name, each.entry.split) for each in found]


def test_a_list_is_taken_in_its_order_split_by_split(tmp_path):
    photographs = [photo(name) for name in "abcd"]
    found = by_list(tmp_path, photographs, "name,split\r\nd,test\r\nc,train\r\n\r\na.jpg,train\r\n")
    assert found == [("c", "train"), ("a", "train"), ("d", "test")]
    assert by_list(tmp_path, photographs, "name,split\n") == []
    # It may begin with a mark and hold more columns.
    found = by_list(tmp_path, [photo("a"), photo("b")], '\ufeffnote,split,name\n"x, y",val,a\n,train,b\n')
    assert found == [("b", "train"), ("a", "val")]


def test_a_name_means_one_photograph(tmp_path):
    photographs = [photo("ann/1"), photo("bob/1"), photo("a.jpg", suffix=""), photo("a", suffix=".png")]
    assert by_list(tmp_path, photographs, "name,split\nbob/1.jpg,val\na.jpg,train\na.png,test\n") == [
        ("a.jpg", "train"), ("bob/1", "val"), ("a", "test"),
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"names 1 photograph not there: 1\.jpg\."):
        by_list(tmp_path, photographs, "name,split\n1.jpg,train\n")


def test_a_list_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "list.csv").write_text("name,split\na,val\n")
    assert splits(split_by_list([photo("a")], Path("~/list.csv"))) == {"a": "val"}
