"""Folders of faces: what is read, and every way in which a file can be wrong."""

import csv
import re

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.prepare import prepare
from pkdn_lightning.prepare.pipeline import Job, prepare_store
from pkdn_lightning.prepare.sources.folder import FolderSource

SIZE = 16


def image(seed: int, size: int = SIZE, mode: str = "RGB") -> Image.Image:
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (size, size, 3), dtype=np.uint8)).convert(mode)


def labels(seed: int, size: int = SIZE, top: int = 19) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, top, (size, size), dtype=np.uint8), mode="L")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "faces"
    for split, names in {"train": "abc", "val": "d", "test": "ef"}.items():
        for kind in ("images", "parsing"):
            (root / split / kind).mkdir(parents=True)
        for name in names:
            image(ord(name)).save(root / split / "images" / f"{name}.png")
            labels(ord(name)).save(root / split / "parsing" / f"{name}.png")
    return root


def source(folder, **options) -> FolderSource:
    return FolderSource(str(folder), size_px=SIZE, **options)


def make(folder, **options) -> FaceStore:
    job = Job(source(folder, **options), "faces")
    return prepare_store(job, folder.parent / "store", workers=0, progress=False)


def rejects(folder) -> list[dict[str, str]]:
    with (folder / "rejects.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_faces_and_maps_arrive_as_they_are(folder):
    store = make(folder)
    assert [(entry.name, entry.split) for entry in store.entries] == [
        ("a", "train"), ("b", "train"), ("c", "train"), ("d", "val"), ("e", "test"), ("f", "test"),
    ]  # fmt: skip
    np.testing.assert_array_equal(store.hr[1], np.asarray(image(ord("b"))))
    np.testing.assert_array_equal(store.parsing[1], np.asarray(labels(ord("b"))))
    assert store.manifest["provenance"]["source"] == "folder"


def test_palette_maps_are_read_as_labels(folder):
    file = folder / "train/parsing/a.png"
    painted = labels(1).convert("P")
    painted.putdata(
        list(labels(1).get_flattened_data() if hasattr(labels(1), "get_flattened_data") else labels(1).getdata())
    )
    painted.save(file)
    np.testing.assert_array_equal(make(folder).parsing[0], np.asarray(labels(1)))


def test_the_verb_uses_the_names_given(folder, tmp_path):
    overrides = [
        "data=folder",
        f"data.source.path={folder}",
        f"data.source.size_px={SIZE}",
        "data.name=mine",
        "check_maps=false",
    ]
    store = prepare(compose("prepare", [*overrides, "check_maps=false"]))
    assert (store.name, store.path.resolve()) == ("mine", tmp_path / "stores" / "mine")
    prepare(compose("prepare", ["verify=stores/mine"]))


def test_without_maps_a_store_is_made_and_said(folder, capsys):
    for split in ("train", "val", "test"):
        for file in (folder / split / "parsing").iterdir():
            file.unlink()
    overrides = ["data=folder", f"data.source.path={folder}", f"data.source.size_px={SIZE}"]
    assert prepare(compose("prepare", overrides)).parsing is None
    assert "no parsing maps" in capsys.readouterr().out


def test_folders_that_are_no_split_are_told(folder, capsys):
    (folder / "validation/images").mkdir(parents=True)
    (folder / "train/images/more").mkdir()
    (folder / ".cache").mkdir()
    make(folder)
    told = capsys.readouterr().out
    assert f"{folder}: Left out: validation/ (splits are train, val, test)." in told
    assert f"{folder}/train/images: Left out: more/ (no image file)." in told


def test_other_sizes_are_resized_on_request(folder):
    image(1, 2 * SIZE).save(folder / "train/images/a.png")
    labels(1, 2 * SIZE).save(folder / "train/parsing/a.png")
    store = make(folder, resize=True)
    expected = image(1, 2 * SIZE).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(store.hr[0], np.asarray(expected))
    np.testing.assert_array_equal(
        store.parsing[0], np.asarray(labels(1, 2 * SIZE).resize((SIZE, SIZE), Image.Resampling.NEAREST))
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_other_kinds_are_converted_on_request(folder, mode):
    grey = np.full((SIZE, SIZE), 128, dtype=np.uint8)
    made = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    made.save(folder / "train/images/a.png")
    assert np.abs(make(folder, convert=True).hr[0].astype(int) - 128).max() <= 2


class TestErrors:
    @pytest.mark.parametrize(
        ("damage", "expected"),
        [
            (lambda f: image(1, mode="L").save(f / "train/images/a.png"), "mode L \\(grey\\), expected 8-bit RGB"),
            (lambda f: image(1, mode="RGBA").save(f / "train/images/a.png"), "with alpha"),
            (
                lambda f: Image.fromarray(np.zeros((SIZE, SIZE), np.uint16)).save(f / "train/images/a.png"),
                "16-bit grey",
            ),
            (lambda f: image(1, 20).save(f / "train/images/a.png"), "20x20, expected 16x16; data.source.resize"),
            (lambda f: image(1).resize((16, 12)).save(f / "train/images/a.png"), "16x12.*have to be square"),
            (lambda f: (f / "train/images/a.png").write_bytes(b"no image"), "no image that can be read"),
            (lambda f: (f / "train/images/a.png").write_bytes(b""), "a.png is empty"),
            (lambda f: truncate(f / "train/images/a.png"), "a.png cannot be read"),
            (lambda f: labels(1, top=30).save(f / "train/parsing/a.png"), r"labels \[19.*outside 0\.\.18"),
            (lambda f: image(1).save(f / "train/parsing/a.png"), "a parsing map holds label ids"),
            (lambda f: labels(1, 20).save(f / "train/parsing/a.png"), "parsing/a.png is 20x20"),
        ],
    )
    def test_a_wrong_file_is_named_and_the_others_go_on(self, folder, damage, expected):
        damage(folder)
        store = make(folder)
        assert [entry.name for entry in store.entries] == ["b", "c", "d", "e", "f"]
        assert store.manifest["splits"] == {"train": 2, "val": 1, "test": 2}
        [row] = rejects(store.path)
        assert (row["name"], row["split"], row["source"]) == ("a", "train", "train/images/a.png")
        assert re.search(expected, row["detail"])
        assert store.manifest["rejected"] == {row["reason"]: 1}
        np.testing.assert_array_equal(store.hr[0], np.asarray(image(ord("b"))))
        np.testing.assert_array_equal(store.parsing[0], np.asarray(labels(ord("b"))))

    @pytest.mark.parametrize(
        ("damage", "expected"),
        [
            (lambda f: (f / "train/parsing/a.png").unlink(), "train/images/a.png has no map"),
            (lambda f: (f / "val/images/d.png").unlink(), "val/parsing/d.png has no face"),
            (lambda f: image(1).save(f / "train/images/a.jpg"), "holds both a.jpg and a.png"),
        ],
    )
    def test_names_that_do_not_pair_up_stop_it_and_nothing_is_left(self, folder, damage, expected):
        damage(folder)
        with pytest.raises(DataError, match=expected):
            make(folder)
        assert not (folder.parent / "store").exists()
        assert not (folder.parent / "store.partial").exists()

    def test_every_problem_is_listed(self, folder):
        for name in "abc":
            image(1, mode="L").save(folder / "train/images" / f"{name}.png")
        store = make(folder)
        assert [row["name"] for row in rejects(store.path)] == ["a", "b", "c"]
        assert store.manifest["rejected"] == {"wrong_mode": 3}
        assert store.manifest["splits"] == {"train": 0, "val": 1, "test": 2}

    def test_nothing_that_can_be_used(self, folder):
        for file in folder.glob("*/images/*.png"):
            image(1, mode="L").save(file)
        with pytest.raises(DataError, match=r"No photograph became a face \(wrong_mode 6\)(.|\n)*mode L \(grey\)"):
            make(folder)
        assert not (folder.parent / "store").exists()
        assert len(rejects(folder.parent / "store.partial")) == 6

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="No images below.*found there: nothing"):
            source(tmp_path / "empty").candidates()

    def test_a_flat_folder_is_told_the_layout(self, tmp_path):
        image(1).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"Expected <split>/images/NAME\.png.*found there: a\.png"):
            source(tmp_path).candidates()

    def test_no_folder(self, tmp_path):
        with pytest.raises(DataError, match="There is no folder"):
            source(tmp_path / "none")
        with pytest.raises(ConfigError, match=r"data\.source\.path is not set"):
            FolderSource(None)


def truncate(file) -> None:
    file.write_bytes(file.read_bytes()[:-40])
