"""From a source to a store: killed at any moment and begun again, alone or with workers, the bytes are the same.

`Tiny` and `BatchParser` serve the other tests of preparation, too.
"""

import itertools
import os
import re
import resource
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.data.store import Entry, FaceStore
from pkdn_lightning.errors import DataError
from pkdn_lightning.prepare import data_card as looking
from pkdn_lightning.prepare import pipeline
from pkdn_lightning.prepare.pipeline import Job, fill
from tests.prepare.conftest import QUOTAS, BatchParser, Landmarker, Tiny, contents, left_beside, make, run_code


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """What an undisturbed run makes of the default `Tiny`."""
    return contents(make(tmp_path_factory.mktemp("whole") / "tiny").path)


def test_a_store_holds_what_its_source_delivers(tmp_path):
    store = make(tmp_path / "tiny")
    wanted = [(c.entry, Tiny().read(c)) for c in Tiny().candidates() if c.number % 11 != 10]
    assert len(store.entries) == len(store.hr) == len(wanted) == 200
    for row, (entry, face) in enumerate(wanted):
        assert store.entries[row] == Entry(entry.name.replace("\n", " "), entry.split, entry.source, entry.identity)
        np.testing.assert_array_equal(store.hr[row], face.hr)
        np.testing.assert_array_equal(store.parsing[row], face.parsing)
        np.testing.assert_array_equal(store.landmarks[row], face.landmarks)
    assert store.manifest["splits"] == {"train": 137, "val": 36, "test": 27}
    assert store.manifest["rejected"] == {"no_face": 10, "too_small": 10}
    assert store.manifest["provenance"] == Tiny().provenance()
    assert left_beside(store.path) == []
    assert list(contents(store.path)) == [
        "card.md", "duplicates.csv", "hr.npy", "index.csv", "labels.csv", "labels.png", "landmarks.npy",
        "manifest.json", "parsing.npy", "rejects.csv", "sheet_test.png", "sheet_train.png", "sheet_val.png",
    ]  # fmt: skip


def test_failing_at_every_13th_photograph_changes_nothing(tmp_path, whole):
    path = tmp_path / "tiny"
    for number in range(0, 220, 13):
        if number % 11 == 10:
            continue
        with pytest.raises(DataError, match="never foreseen"):
            make(path, fails_at=number)
        assert left_beside(path) == ["tiny.partial"]
    assert contents(make(path).path) == whole
    assert left_beside(path) == []


def test_it_goes_on_where_it_was(tmp_path, monkeypatch):
    with pytest.raises(DataError):
        make(tmp_path / "tiny", fails_at=200)
    read: list[int] = []
    tried = Tiny.read
    monkeypatch.setattr(Tiny, "read", lambda self, candidate: read.append(candidate.number) or tried(self, candidate))
    make(tmp_path / "tiny")
    assert read == list(range(192, 220))  # the three chunks before were committed


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(tmp_path, workers):
    job = Job(Tiny(wanted=QUOTAS, maps=False), "tiny", BatchParser())
    alone = make(tmp_path / "alone", job)
    assert contents(make(tmp_path / "shared", job, workers=workers).path) == contents(alone.path)


def test_a_failure_among_workers_changes_nothing(tmp_path, whole):
    with pytest.raises(DataError, match="never foreseen"):
        make(tmp_path / "tiny", workers=2, fails_at=140)
    assert contents(make(tmp_path / "tiny").path) == whole


def test_a_batch_is_the_same_after_a_failure(tmp_path):
    def job(fails_at: int = -1) -> Job:
        return Job(Tiny(maps=False, fails_at=fails_at), "tiny", BatchParser(), Landmarker())

    whole = make(tmp_path / "whole", job())
    assert {"no_map", "no_landmarks"} < set(whole.manifest["rejected"])
    assert whole.landmarks[0, 0, 0] == whole.hr[0, 0, 0, 0]
    for number in (70, 150):
        with pytest.raises(DataError):
            make(tmp_path / "tiny", job(number))
    assert contents(make(tmp_path / "tiny", job()).path) == contents(whole.path)


def test_quotas_take_the_first_faces_in_order(tmp_path, monkeypatch):
    everything = make(tmp_path / "all", bad=10**6)
    read: list[int] = []
    tried = Tiny.read
    monkeypatch.setattr(Tiny, "read", lambda self, candidate: read.append(candidate.number) or tried(self, candidate))
    store = make(tmp_path / "some", bad=10**6, wanted={"train": 50, "val": 10, "test": 99})
    assert store.manifest["splits"] == {"train": 50, "val": 10, "test": 30}
    rows = [*range(50), *range(150, 160), *range(190, 220)]
    np.testing.assert_array_equal(store.hr, everything.hr[rows])
    assert not {*range(64, 128)} & set(read)  # a chunk that nobody needs is not read
    few = make(tmp_path / "few", wanted={"train": 9, "val": 0, "test": 0})
    assert few.manifest["splits"] == {"train": 9, "val": 0, "test": 0}
    assert few.manifest["rejected"] == store.manifest["rejected"] == {}


def test_all_rejected_tells_the_first_reason(tmp_path):
    with pytest.raises(DataError) as caught:
        make(tmp_path / "tiny", bad=1)
    assert str(caught.value) == (
        "No photograph became a face (no_face 110, too_small 110), so no store was made.\n"
        f'The first reject: "0", of them: ü\nAll of them: {tmp_path / "tiny.partial/rejects.csv"}'
    )
    assert (tmp_path / "tiny.partial/rejects.csv").read_text().count("\n") == 221
    with pytest.raises(DataError, match="No photograph became a face"):
        make(tmp_path / "tiny", bad=1)
    make(tmp_path / "tiny", bad=11)  # no face is lost by beginning anew with another option
    assert left_beside(tmp_path / "tiny") == []
    with pytest.raises(DataError, match=r"No photograph became a face \(none was tried\)"):
        make(tmp_path / "none", train=0, val=0, test=0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 1}, "made.seed: 0 there, 1 now"),
        ({"bad": 12}, "made.bad: 11 there, 12 now"),
        ({"wanted": {"val": 3}}, "made.faces_wanted.val: None there, 3 now"),
        ({"size_px": 16}, "size_px: 8 there, 16 now"),
        ({"maps": False}, r"arrays: \['hr', 'parsing', 'landmarks'\] there, \['hr', 'landmarks'\] now"),
        ({"train": 151}, r"photographs: '220, SHA-256 .*' there, '221, SHA-256 .*' now"),
    ],
)
def test_another_plan_names_the_option_and_loses_nothing(tmp_path, whole, options, told):
    with pytest.raises(DataError):
        make(tmp_path / "tiny", seed=2, fails_at=60)  # where nothing was tried another plan begins anew
    with pytest.raises(DataError):
        make(tmp_path / "tiny", fails_at=100)
    with pytest.raises(DataError, match=rf"tiny\.partial holds 59 faces of an interrupted run .*\n  {told}"):
        make(tmp_path / "tiny", **options)
    assert contents(make(tmp_path / "tiny").path) == whole


def test_memory_does_not_grow_with_the_faces(tmp_path):
    code = "from tests.prepare.test_pipeline import print_memory; print_memory()"
    few, many = map(int, run_code(code, tmp_path).stdout.split())
    assert many - few < 15 * 2**20


def print_memory() -> None:
    """Prints the peak memory after few and after many faces, in bytes."""
    os.fsync = lambda file: None  # it takes time, not memory
    unit = 1 if sys.platform == "darwin" else 1024
    for count in (500, 20_000):
        job = Job(Tiny(train=count, maps=False, marks=False), "tiny")
        candidates = job.source.candidates()
        with job.writer(Path(str(count)), job.plan(candidates)) as writer:
            fill(writer, job, candidates, workers=0, progress=False)
        sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be copied")
def test_killed_before_any_file_operation_it_goes_on(tmp_path):
    code = "from tests.prepare.test_pipeline import die_everywhere; die_everywhere()"
    done = run_code(code, tmp_path)
    moments = done.stdout.splitlines()
    assert len(moments) > 60
    assert {"open manifest.json", "os.rename tiny.partial", "os.remove state.json", "fsync", "open card.md"} <= {
        *moments
    }


def die_everywhere() -> None:
    """Makes a store again and again, killed one file operation later each time, and goes on; prints the moments."""
    pipeline.CHUNK = 4
    os.fsync = lambda file: None  # a kill takes nothing that was written; without it is faster
    looking.contact_sheet = looking.label_chart = lambda *arguments: Image.new("RGB", (1, 1))  # as is not to draw
    job = Job(Tiny(train=7, val=0, test=3, bad=4, marks=False), "tiny")
    whole = contents(make(Path("whole"), job).path)
    path = Path("killed/tiny")
    for step in itertools.count():
        child = os.fork()
        if not child:
            _kill_at(step)
            make(path, job)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if path.exists():  # killed when all was done but tidying up
            FaceStore.open(path)
            with pytest.raises(DataError, match="exists already"):
                make(path, job)
        else:
            make(path, job)
        found = contents(path)
        changed = [name for name in {**found, **whole} if found.get(name) != whole.get(name)]
        assert not changed, f"{changed} after the kill at step {step}"
        assert left_beside(path) == [], f"killed at step {step}"
        shutil.rmtree(path.parent)


def _kill_at(step: int) -> None:
    steps = itertools.count()

    def tick(what: str) -> None:
        if next(steps) == step:
            os.write(1, f"{what}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            _, mode, flags = arguments
            if not (set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)):
                return  # it is read only
        elif event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"):
            return
        name = "" if isinstance(arguments[0], int) else Path(os.fsdecode(arguments[0])).name
        tick(f"{event} {re.sub(r'^[.][0-9a-f]+-[0-9]+[.]', '', name)}")  # temporary files by what they become

    os.fsync = lambda file: tick("fsync")
    sys.addaudithook(watch)


def test_what_was_made_is_kept_when_a_file_grows_too_large(tmp_path, whole):
    code = (
        "from tests.prepare.test_pipeline import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))\n"
        "try: make(Path('tiny'))\n"
        "except DataError as error: print(error)"
    )
    told = run_code(code, tmp_path).stdout
    assert told.startswith("tiny.partial could not be written: [Errno 27] File too large")
    assert (tmp_path / "tiny.partial/tried.bin").stat().st_size >= 128
    assert contents(make(tmp_path / "tiny").path) == whole
