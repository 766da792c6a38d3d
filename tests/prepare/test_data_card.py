"""What a person looks at: sheets, histogram, duplicates, card."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.data.labels import LABELS, PALETTE
from pkdn_lightning.data.store import Entry
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare.data_card import contact_sheet, count_labels, describe, label_chart
from pkdn_lightning.prepare.duplicates import find_duplicates, perceptual_hash
from pkdn_lightning.prepare.store_writer import StoreWriter
from tests.conftest import real_face

TITLE = 20


def hr_of(number: int, size: int = 64) -> np.ndarray:
    return real_face(number, size).hr


def noise(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count)
    hr = draw.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return hr, draw.integers(0, 19, (count, size, size), dtype=np.uint8)


def write(path, faces, *, maps=None, provenance=None):
    """Writes a store of (split, name, hr) with everything there is to look at."""
    size = faces[0][2].shape[0]
    options = {"with_parsing": maps is not None, "provenance": provenance}
    with StoreWriter(path, name="mine", size_px=size, **options) as writer:
        for row, (split, name, hr) in enumerate(faces):
            writer.add(Entry(name, split, identity=f"{row % 2 or ''}"), hr, None if maps is None else maps[row])
        writer.reject(Entry("gone", "train"), Rejected("no_face", "none there"))
        writer.finish(describe)
    return path


def table(file) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def duplicates(tmp_path, faces) -> set[tuple[str, str]]:
    """The pairs found among (split, name, hr), by name."""
    np.save(tmp_path / "hr.npy", np.stack([hr for *_, hr in faces]))
    entries = [Entry(name, split) for split, name, _ in faces]
    return {(pair.first.name, pair.second.name) for pair in find_duplicates(tmp_path / "hr.npy", entries)}


def recompressed(hr: np.ndarray, quality: int = 75) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(hr).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def resized(hr: np.ndarray, side: int) -> np.ndarray:
    back = Image.fromarray(hr).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(back.resize(hr.shape[:2], Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("count", "across", "down"), [(1, 1, 1), (5, 5, 1), (6, 6, 1), (7, 6, 2), (20, 6, 4)])
@pytest.mark.parametrize("size", [8, 16])
def test_a_sheet_shows_each_face_beside_its_map(count, across, down, size):
    hr, parsing = noise(count, size)
    entries = tuple(Entry(str(row), "train") for row in range(count))
    rows = list(range(count))[::-1]
    sheet = np.asarray(contact_sheet(hr, parsing, entries, rows))
    assert sheet.shape == (down * (size + TITLE), across * 2 * size, 3)
    for place, row in enumerate(rows):
        y, x = place // 6 * (size + TITLE) + TITLE, place % 6 * 2 * size
        np.testing.assert_array_equal(sheet[y : y + size, x : x + size], hr[row])
        colours = np.array([[PALETTE[label] for label in line] for line in parsing[row]])
        np.testing.assert_array_equal(sheet[y : y + size, x + size : x + 2 * size], colours)
    bare = np.asarray(contact_sheet(hr, None, entries, rows))
    assert bare.shape == (down * (size + TITLE), across * size, 3)
    np.testing.assert_array_equal(bare[TITLE : TITLE + size, :size], hr[rows[0]])


@pytest.mark.parametrize("name", ["", "x" * 300, "Ελλάδα/日本語 ١", "a\\udcff", "é" * 9, "a b\tc"])
def test_any_name_has_room_above_its_face(name):
    hr, parsing = noise(2, 32)
    sheet = np.asarray(contact_sheet(hr, parsing, (Entry(name, "val"), Entry("b", "val")), [0, 1]))
    np.testing.assert_array_equal(sheet[TITLE:, :32], hr[0])
    np.testing.assert_array_equal(sheet[TITLE:, 64:96], hr[1])
    assert (sheet[:TITLE, :64] < 255).any() == bool(name)


def test_a_sheet_shows_the_whole_length_of_a_split(tmp_path):
    faces = [("train" if row < 100 else "test", f"{row}", hr_of(row, 16)) for row in range(110)]
    path = write(tmp_path / "s", faces)
    train, test = (np.asarray(Image.open(path / f"sheet_{split}.png")) for split in ("train", "test"))
    assert train.shape == (8 * (16 + TITLE), 6 * 16, 3)
    assert test.shape == (2 * (16 + TITLE), 6 * 16, 3)
    np.testing.assert_array_equal(train[TITLE : TITLE + 16, :16], faces[0][2])
    np.testing.assert_array_equal(train[-16:, -16:], faces[99][2])
    assert not (path / "sheet_val.png").exists()


def test_shares_of_labels_are_exact(tmp_path):
    maps = np.zeros((4, 8, 8), dtype=np.uint8)
    maps[0, :4] = 1  # half of one face
    maps[1, 0, 0] = 18  # a pixel
    maps[2] = 1
    np.save(tmp_path / "parsing.npy", maps)
    pixels, faces = count_labels(tmp_path / "parsing.npy")
    assert pixels[[0, 1, 18]].tolist() == [(32 + 63 + 64) / 256, (32 + 64) / 256, 1 / 256]
    assert faces[[0, 1, 18]].tolist() == [3, 2, 1]
    assert (pixels.sum(), faces.sum()) == (1, 6)
    store = write(tmp_path / "s", [("val", str(row), hr_of(row, 8)) for row in range(4)], maps=maps)
    rows = table(store / "labels.csv")
    assert [row["name"] for row in rows] == list(LABELS)
    assert rows[1] == {
        "label": "1", "name": LABELS[1], "pixels_share": "0.375000", "faces": "2", "faces_share": "0.500000",
    }  # fmt: skip
    assert rows[5]["pixels_share"] == "0.000000"
    _, maps = noise(700, 8)  # more than are counted at a time
    np.save(tmp_path / "parsing.npy", maps)
    pixels, faces = count_labels(tmp_path / "parsing.npy")
    np.testing.assert_allclose(pixels, np.bincount(maps.ravel(), minlength=19) / maps.size, rtol=1e-12)
    assert faces.tolist() == [float((maps == label).any(axis=(1, 2)).sum()) for label in range(19)]


def test_a_bar_is_as_long_as_its_share():
    counts = np.zeros((2, 19))
    counts[1, :3] = 4, 2, 0
    chart = np.asarray(label_chart(counts, 4))
    lengths = [int((chart[18 * (label + 1) + 10, 91:410] == PALETTE[label]).all(axis=1).sum()) for label in range(2)]
    assert lengths[0] == pytest.approx(319, abs=2)
    assert lengths[1] == pytest.approx(159, abs=2)


@pytest.mark.parametrize("size", [64, 128])
def test_copies_are_found_whatever_was_done_to_them(tmp_path, size):
    faces = [("train", f"{row}", hr_of(row, size)) for row in range(12)]
    first, second, third, fourth, fifth = (face[2] for face in faces[:5])
    copies = [
        ("test", "same", first),
        ("test", "jpeg", recompressed(second)),
        ("val", "small", resized(third, size // 2)),
        ("val", "large", resized(fourth, size * 2)),
        ("train", "again", fifth),
    ]
    expected = {("0", "same"), ("1", "jpeg"), ("2", "small"), ("3", "large"), ("4", "again")}
    assert duplicates(tmp_path, faces + copies) == expected
    assert len(duplicates(tmp_path, copies[::-1] + faces)) == 5  # in any order


def test_many_copies_of_one_image(tmp_path):
    faces = [("train", f"{row}", hr_of(1)) for row in range(4)] + [("test", "t", hr_of(1)), ("val", "v", hr_of(2))]
    pairs = duplicates(tmp_path, faces)
    assert {("0", "t"), ("1", "t"), ("2", "t"), ("3", "t")} < pairs
    assert pairs - {(f"{row}", "t") for row in range(4)} == {("0", "1"), ("0", "2"), ("0", "3")}  # each with the first


def test_more_faces_held_out_than_are_compared_at_a_time(tmp_path):
    faces = [("test", f"{row}", hr_of(row, 16)) for row in range(80)]
    faces += [("val", "first", hr_of(3, 16)), ("train", "last", hr_of(79, 16))]
    assert {("3", "first"), ("79", "last")} <= duplicates(tmp_path, faces)
    different = [(("train", "val", "test")[row % 3], f"{row}", hr_of(row, 32)) for row in range(120)]
    assert duplicates(tmp_path, different) == set()


@pytest.mark.parametrize("levels", [(0, 0), (100, 100), (0, 255), (7, 128)])
def test_flat_images_are_alike_and_nothing_else(tmp_path, levels):
    flat = [("test", f"flat {place}", np.full((64, 64, 3), level, np.uint8)) for place, level in enumerate(levels)]
    faces = [("train", f"{row}", hr_of(row)) for row in range(5)]
    assert duplicates(tmp_path, faces + flat) == {("flat 0", "flat 1")}
    assert perceptual_hash(flat[0][2]) in (0, 1 << 63)


@pytest.mark.parametrize(("correlation", "found"), [(0.975, 0), (0.985, 1)])
def test_faces_of_one_hash_are_duplicates_if_their_pixels_agree(tmp_path, monkeypatch, correlation, found):
    monkeypatch.setattr("pkdn_lightning.prepare.duplicates._correlation", lambda a, b: correlation)
    face = np.zeros((32, 32, 3), np.uint8)
    assert len(duplicates(tmp_path, [("train", "a", face), ("test", "b", face)])) == found


def test_duplicates_and_card_are_written(tmp_path):
    names = ["a, b", "Zoë", "c"]
    faces = [("train", names[0], hr_of(1)), ("train", "other", hr_of(2)), ("val", names[1], hr_of(1)),
             ("val", names[2], recompressed(hr_of(3))), ("val", "d", hr_of(3))]  # fmt: skip
    made = {"source": "mine", "faces_wanted": {"train": 2, "val": "all"}, "parser": None, "licence": "CC0 | free"}
    path = write(tmp_path / "s", faces, maps=np.zeros((5, 64, 64), np.uint8), provenance=made)
    rows = table(path / "duplicates.csv")
    assert [list(row.values())[:4] for row in rows] == [["train", "a, b", "val", "Zoë"], ["val", "c", "val", "d"]]
    assert rows[0]["correlation"] == "1.0000"
    assert 0.98 <= float(rows[1]["correlation"]) <= 1
    card = (path / "card.md").read_text(encoding="utf-8")
    for line in (
        "# Data card: mine",
        "| train | 2 | 1 |",
        "| val | 3 | 1 |",
        "| test | 0 | 0 |",
        "- source: mine",
        "- faces wanted: train 2, val all",
        "- parser: none",
        "- photographs that became no face: no_face 1 (`rejects.csv`)",
        "- pairs that show the same image: 2, of them 1 across splits (`duplicates.csv`)",
        "- licence: CC0 \\| free",
    ):
        assert line in card.splitlines()
    assert "Faces of 64x64 px" in card
    assert sum(line.endswith((".npy", ".csv")) and line.startswith("    ") for line in card.splitlines()) == 3


def test_a_store_without_maps_has_no_histogram(tmp_path):
    path = write(tmp_path / "s", [("test", "a", hr_of(1))])
    assert sorted(file.name for file in path.iterdir()) == [
        "card.md", "duplicates.csv", "hr.npy", "index.csv", "manifest.json", "rejects.csv", "sheet_test.png",
    ]  # fmt: skip
    assert "Not known: they are those of the photographs' owner." in (path / "card.md").read_text()
    assert table(path / "duplicates.csv") == []


def test_a_shared_hash_alone_makes_no_copy(tmp_path):
    rows, columns = np.indices((64, 64)) // 2
    checks = np.where((rows + columns) % 2, 60, -60)[..., None]  # too fine for the hash to see
    face = np.clip(hr_of(1).astype(int), 60, 195)
    plain, checked = face.astype(np.uint8), (face + checks).astype(np.uint8)
    assert (perceptual_hash(plain) ^ perceptual_hash(checked)).bit_count() <= 6
    assert duplicates(tmp_path, [("train", "a", plain), ("test", "b", checked)]) == set()
