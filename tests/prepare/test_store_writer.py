"""The store being made: what is committed survives, what is not is cut off, and every trouble is told."""

import csv
import errno
import io
import json
import os

import numpy as np
import pytest

from pkdn_lightning.data.store import Entry, FaceStore, verify_store
from pkdn_lightning.errors import DataError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.files import file_sha256
from pkdn_lightning.prepare import pipeline
from pkdn_lightning.prepare.data_card import describe
from pkdn_lightning.prepare.store_writer import HEADER_BYTES, StoreWriter
from tests.prepare.conftest import contents, left_beside, make, run_code


def face(seed: int = 0, size: int = 8) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (size, size, 3), dtype=np.uint8), draw.integers(0, 19, (size, size), dtype=np.uint8)


def open_writer(path, **options) -> StoreWriter:
    return StoreWriter(path, name="s", size_px=options.pop("size_px", 8), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return contents(make(tmp_path_factory.mktemp("whole") / "tiny").path)


@pytest.fixture
def half(tmp_path):
    """A store of which two chunks of four were committed."""
    with pytest.raises(DataError):
        make(tmp_path / "tiny", fails_at=130)
    return tmp_path / "tiny.partial"


def test_round_trip(tmp_path):
    marks = np.arange(136, dtype=np.float32).reshape(68, 2)
    with open_writer(tmp_path / "s", with_landmarks=True, provenance={"a": [1, None]}) as writer:
        writer.add(Entry("a", "test", "x/a.png", "7"), *face(1), marks)
        writer.reject(Entry("b", "train"), Rejected("no_face", "none"))
        writer.skip()
        writer.add(Entry("c", "train"), *face(2), marks)
        assert writer.tried == 4
        writer.finish()
    store = FaceStore.open(tmp_path / "s")
    assert store.entries == (Entry("a", "test", "x/a.png", "7"), Entry("c", "train"))
    np.testing.assert_array_equal(store.hr[1], face(2)[0])
    np.testing.assert_array_equal(store.parsing[1], face(2)[1])
    np.testing.assert_array_equal(store.landmarks[0], marks)
    assert store.manifest["splits"] == {"train": 1, "val": 0, "test": 1}
    assert store.manifest["rejected"] == {"no_face": 1}
    assert store.manifest["provenance"] == {"a": [1, None]}
    assert sorted(contents(store.path)) == ["hr.npy", "index.csv", "landmarks.npy", "manifest.json", "parsing.npy",
                                            "rejects.csv"]  # fmt: skip
    assert left_beside(store.path) == []


@pytest.mark.parametrize("count", [1, 9, 10, 100, 12_345])
def test_arrays_are_plain_npy_files_of_any_length(tmp_path, count):
    hr, parsing = face(size=2)
    with open_writer(tmp_path / "s", size_px=2, with_landmarks=True) as writer:
        for number in range(count):
            writer.add(Entry(str(number), "train"), hr, parsing, np.full((68, 2), number, dtype=np.float32))
        writer.finish()
    shapes = {"hr": (count, 2, 2, 3), "parsing": (count, 2, 2), "landmarks": (count, 68, 2)}
    for key, shape in shapes.items():
        file = tmp_path / f"s/{key}.npy"
        array = np.load(file)
        assert (array.shape, array.flags.c_contiguous) == (shape, True)
        assert file.stat().st_size == HEADER_BYTES + array.nbytes
        with file.open("rb") as opened:
            assert np.lib.format.read_magic(opened) == (1, 0)
            np.lib.format.read_array_header_1_0(opened)
            assert opened.tell() == HEADER_BYTES
    assert np.load(tmp_path / "s/landmarks.npy")[-1, 0, 0] == count - 1
    names = ("hr.npy", "parsing.npy", "landmarks.npy", "index.csv")
    assert verify_store(tmp_path / "s")["sha256"] == {name: file_sha256(tmp_path / "s" / name) for name in names}


def test_leaving_without_finishing_keeps_what_was_committed(tmp_path):
    with open_writer(tmp_path / "s") as writer:
        writer.add(Entry("a", "train"), *face(1))
        writer.commit()
        writer.add(Entry("b", "val"), *face(2))
    assert left_beside(tmp_path / "s") == ["s.partial"]
    with open_writer(tmp_path / "s") as writer:
        assert (writer.tried, dict(writer.accepted)) == (1, {"train": 1})
        writer.add(Entry("c", "test"), *face(3))
        writer.finish()
    store = FaceStore.open(tmp_path / "s")
    assert [entry.name for entry in store.entries] == ["a", "c"]
    np.testing.assert_array_equal(store.hr[1], face(3)[0])


@pytest.mark.parametrize("torn", ["hr.npy", "parsing.npy", "landmarks.npy", "index.csv", "rejects.csv", "tried.bin"])
def test_torn_bytes_are_cut_off(tmp_path, half, whole, torn):
    with (half / torn).open("ab") as file:
        file.write(b'"half a line, 17\x01')
    assert contents(make(tmp_path / "tiny").path) == whole


@pytest.mark.parametrize(
    "state", [None, "", "{", "[]", "{}", "null", '{"plan": {}, "bytes": {}, "accepted": 1}', "\xff"]
)
def test_a_state_that_cannot_be_read_begins_anew(tmp_path, half, whole, state):
    (half / "state.json").unlink() if state is None else (half / "state.json").write_text(state, encoding="latin1")
    assert contents(make(tmp_path / "tiny").path) == whole


@pytest.mark.parametrize("damage", ["short", "gone"])
def test_a_file_that_lost_committed_bytes_is_named(tmp_path, half, damage):
    file = half / "hr.npy"
    if damage == "short":
        os.truncate(file, 1000)
    else:
        file.unlink()
    with pytest.raises(DataError, match=r"hr\.npy has (1,000|0) bytes but 22,592 were written"):
        make(tmp_path / "tiny")
    assert (half / "state.json").exists()


def test_nothing_is_overwritten(tmp_path):
    store = make(tmp_path / "tiny")
    before = contents(store.path)
    with pytest.raises(DataError, match="exists already and is kept"):
        make(tmp_path / "tiny", seed=1)
    assert contents(store.path) == before
    (tmp_path / "mine").mkdir()
    for name in ("manifest.json", "state.json", "tried.bin"):
        (tmp_path / "mine" / name).write_text("{}")
    with pytest.raises(DataError, match="exists already"):
        make(tmp_path / "mine")
    assert len(contents(tmp_path / "mine")) == 3  # although they are called as a store's scaffold is
    assert left_beside(store.path) == ["mine"]


def test_a_second_writer_is_told(tmp_path):
    with open_writer(tmp_path / "s") as first:
        first.add(Entry("a", "train"), *face(1))
        first.commit()
        with (
            pytest.raises(DataError, match=r"Another process is writing .*/s\. Wait, or give another place"),
            open_writer(tmp_path / "s"),
        ):
            pass
        code = (
            "from tests.prepare.test_store_writer import *\n"
            "try: open_writer('s').__enter__()\n"
            "except DataError as error: print(error)"
        )
        assert run_code(code, tmp_path).stdout.startswith("Another process is writing s.")
        with pytest.raises(DataError, match="Another process"), open_writer(tmp_path / "s"):
            pass  # that those were turned away took nothing from the first
        first.finish()
    assert len(FaceStore.open(tmp_path / "s").hr) == 1
    assert left_beside(tmp_path / "s") == []


def test_the_lock_does_not_survive_a_kill(tmp_path):
    code = "from tests.prepare.test_store_writer import *; open_writer('s').__enter__(); os.kill(os.getpid(), 9)"
    run_code(code, tmp_path, expected=-9)
    assert left_beside(tmp_path / "s") == [".s.writing", "s.partial"]
    with open_writer(tmp_path / "s") as writer:
        writer.add(Entry("a", "train"), *face(1))
        writer.finish()
    assert left_beside(tmp_path / "s") == []


class Full:
    """A file on a disk that is full once `room` bytes were written, as told by one of its methods."""

    def __init__(self, file, method, room=0):
        self.file, self.method, self.room = file, method, room

    def __getattr__(self, name):
        return getattr(self.file, name)

    def _say(self, method):
        if self.method == method and self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, data):
        self.room -= memoryview(data).nbytes
        self._say("write")
        return self.file.write(data)

    def flush(self):
        self._say("flush")
        self.file.flush()

    def close(self):
        self.file.close()
        self._say("close")


@pytest.mark.parametrize("name", ["hr.npy", "index.csv", "rejects.csv", "tried.bin"])
@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_full_disk_is_told_and_costs_nothing(tmp_path, monkeypatch, whole, method, name):
    opened = StoreWriter._open

    def open_full(writer):
        opened(writer)
        room = 140 if name == "tried.bin" else len(whole[name]) * 2 // 3
        writer._files[name] = Full(writer._files[name], method, room)

    monkeypatch.setattr(StoreWriter, "_open", open_full)
    with pytest.raises(DataError) as caught:
        make(tmp_path / "tiny")
    assert f"The disk of {tmp_path} is full" in str(caught.value)
    assert f"kept in {tmp_path / 'tiny.partial'}: make room and run the same command again" in str(caught.value)
    assert left_beside(tmp_path / "tiny") == ["tiny.partial"]
    assert json.loads((tmp_path / "tiny.partial/state.json").read_text())["bytes"]["tried.bin"] == 128
    monkeypatch.undo()
    assert contents(make(tmp_path / "tiny").path) == whole


def test_a_disk_that_is_full_when_closing_hides_no_other_error(tmp_path, monkeypatch, whole):
    opened = StoreWriter._open

    def open_full(writer):
        opened(writer)
        writer._files = {name: Full(file, "close") for name, file in writer._files.items()}

    monkeypatch.setattr(StoreWriter, "_open", open_full)
    with pytest.raises(DataError, match="never foreseen"):
        make(tmp_path / "tiny", fails_at=130)
    assert left_beside(tmp_path / "tiny") == ["tiny.partial"]
    assert contents(make(tmp_path / "tiny").path) == whole  # all was on the disk when the files were closed


@pytest.mark.parametrize("moment", range(1, 14, 2))
def test_a_disk_that_fails_to_sync_costs_nothing(tmp_path, monkeypatch, whole, moment):
    calls, sync = iter(range(100)), os.fsync

    def fail_once(file):
        if next(calls) == 3 * moment:
            raise OSError(errno.EIO, "Input/output error")
        sync(file)

    monkeypatch.setattr(os, "fsync", fail_once)
    with pytest.raises(DataError, match=r"tiny\.partial could not be written: .*Input/output error"):
        make(tmp_path / "tiny")
    assert contents(make(tmp_path / "tiny").path) == whole


def test_a_disk_that_is_full_when_finishing_costs_nothing(tmp_path, monkeypatch, whole):
    def describe_half(folder, manifest):
        describe(folder, manifest)
        (folder / "card.md").write_text("half a c")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pipeline, "describe", describe_half)
    with pytest.raises(DataError, match="is full"):
        make(tmp_path / "tiny")
    with pytest.raises(DataError, match="No store at"):
        FaceStore.open(tmp_path / "tiny.partial")
    monkeypatch.undo()
    assert contents(make(tmp_path / "tiny").path) == whole


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be written"), open_writer(tmp_path / "file/s"):
        pass


def test_rejects_are_a_table_whatever_they_are_called(tmp_path):
    awkward = [("a,b", 'say "no"'), ("Zoë/å.jpg", "zwei\r\nZeilen\u2028oder drei"), ("\udcff.png", ""), ("=1+1", ";")]
    with open_writer(tmp_path / "s") as writer:
        for name, detail in awkward:
            writer.reject(Entry(name, "train", f"in/{name}"), Rejected("odd", detail))
            writer.add(Entry(name, "train", f"in/{name}"), *face())
        writer.reject(Entry("z", "val"), Rejected("no_face", "none"))
        writer.finish()
    text = (tmp_path / "s/rejects.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 6  # a line is a row
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["name", "split", "source", "reason", "detail"]
    assert [(row["name"], row["detail"]) for row in rows] == [
        ("a,b", 'say "no"'), ("Zoë/å.jpg", "zwei Zeilen oder drei"), ("\\udcff.png", ""), ("=1+1", ";"), ("z", "none"),
    ]  # fmt: skip
    assert rows[4] == {"name": "z", "split": "val", "source": "", "reason": "no_face", "detail": "none"}
    store = FaceStore.open(tmp_path / "s")
    assert [entry.name for entry in store.entries] == ["a,b", "Zoë/å.jpg", "\\udcff.png", "=1+1"]
    assert store.manifest["rejected"] == {"no_face": 1, "odd": 4}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"split": "dev"}, "'a': split 'dev' is none of train, val, test"),
        ({"label": 19}, r"'a': parsing label 19 is outside 0\.\.18"),
        ({"size": 9}, r"'a': hr has shape \(9, 9, 3\), expected shape \(8, 8, 3\)"),
        ({"parsing": None}, r"'a': parsing has nothing, expected shape \(8, 8\)"),
    ],
)
def test_a_face_that_does_not_fit_is_refused_as_a_whole(tmp_path, change, told):
    hr, parsing = face(size=change.get("size", 8))
    parsing[0, 0] = change.get("label", 0)
    with open_writer(tmp_path / "s") as writer:
        with pytest.raises(DataError, match=told):
            writer.add(Entry("a", change.get("split", "train")), hr, change.get("parsing", parsing))
        writer.add(Entry("b", "train"), *face())
        writer.finish()
    assert len(FaceStore.open(tmp_path / "s").hr) == 1
