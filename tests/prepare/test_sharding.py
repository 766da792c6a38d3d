"""Shards: joined, they are what one machine would have made, and nothing is joined that does not belong together."""

import os
import shutil

import pytest

from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.prepare import sharding as sharing
from pkdn_lightning.prepare.pipeline import CHUNK, Job
from pkdn_lightning.prepare.sharding import Shard, join, prepare_shard
from tests.prepare.conftest import QUOTAS, BatchParser, Landmarker, Tiny, contents, left_beside, make

JOBS = {
    "plain": Job(Tiny(), "tiny"),
    "bare": Job(Tiny(maps=False, marks=False), "tiny"),
    "quotas": Job(Tiny(wanted=QUOTAS), "tiny"),
    "parsed": Job(Tiny(wanted=QUOTAS, maps=False, marks=False), "tiny", BatchParser(), Landmarker()),
}


def make_shards(path, job, total, numbers=None):
    for number in numbers or range(1, total + 1):
        made = prepare_shard(job, path, Shard(number, total), workers=0, progress=False)
        assert made == path.with_name(f"{path.name}.shard-{number:04d}-of-{total:04d}")


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wholes")
    return {name: contents(make(folder / name, job).path) for name, job in JOBS.items()}


@pytest.mark.parametrize("total", [1, 2, 3, 7])  # of four chunks, so three of seven are empty
@pytest.mark.parametrize("name", JOBS)
def test_joined_shards_are_what_one_machine_makes(tmp_path, wholes, name, total):
    make_shards(tmp_path / "tiny", JOBS[name], total)
    shards = {each: contents(tmp_path / each) for each in left_beside(tmp_path / "tiny")}
    assert len(shards) == total
    assert contents(join(tmp_path / "tiny").path) == wholes[name]
    assert {each: contents(tmp_path / each) for each in left_beside(tmp_path / "tiny")} == shards


def test_a_shard_without_a_face_can_be_joined(tmp_path):
    job = Job(Tiny(train=2 * CHUNK, val=3, test=3, wanted={"train": 4}), "tiny")
    make_shards(tmp_path / "tiny", job, 3)
    nothing = Job(Tiny(bad=1), "tiny")
    make_shards(tmp_path / "none", nothing, 2)
    with pytest.raises(DataError, match=r"No photograph became a face \(no_face 110, too_small 110\)"):
        join(tmp_path / "none")
    assert contents(join(tmp_path / "tiny").path) == contents(make(tmp_path / "whole/tiny", job).path)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 220, 1000])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 20])
def test_shares_cover_everything_once_at_the_chunks(count, total):
    shares = [Shard(number, total).share(count) for number in range(1, total + 1)]
    rows = [row for share in shares for row in range(count)[share]]
    assert rows == list(range(count))
    assert all(share.start % CHUNK == 0 for share in shares)
    sizes = [len(range(count)[share]) for share in shares]
    assert max(sizes) - min(sizes) <= 2 * CHUNK


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/", "/2", "a/b", "1/2/3", "-1/2", "²/3", "1.0/2", ""])
def test_what_names_no_share(text):
    with pytest.raises(ConfigError, match="names no share of the work; expected i/n"):
        Shard.parse(text)
    assert Shard.parse("2/10") == (2, 10)


def test_an_interrupted_shard_goes_on(tmp_path, wholes):
    with pytest.raises(DataError):
        make_shards(tmp_path / "tiny", Job(Tiny(fails_at=70), "tiny"), 1)
    with pytest.raises(DataError, match="There are no shards of .*tiny"):
        join(tmp_path / "tiny")
    make_shards(tmp_path / "tiny", JOBS["plain"], 1)
    assert contents(join(tmp_path / "tiny").path) == wholes["plain"]


def test_an_interrupted_join_goes_on(tmp_path, wholes, monkeypatch):
    make_shards(tmp_path / "tiny", JOBS["plain"], 3)
    for stop in (10, 130, 1):
        calls, keep = iter(range(1000)), sharing.keep

        def keep_some(*arguments, stop=stop, calls=calls, keep=keep):
            if next(calls) == stop:
                raise KeyboardInterrupt
            keep(*arguments)

        monkeypatch.setattr(sharing, "keep", keep_some)
        with pytest.raises(KeyboardInterrupt):
            join(tmp_path / "tiny")
        assert (tmp_path / "tiny.partial").exists()
        monkeypatch.undo()
    assert contents(join(tmp_path / "tiny").path) == wholes["plain"]
    assert len(left_beside(tmp_path / "tiny")) == 3


def test_a_store_made_alone_is_not_gone_on_with_by_joining(tmp_path):
    make_shards(tmp_path / "tiny", JOBS["plain"], 2)
    with pytest.raises(DataError):
        make(tmp_path / "tiny", fails_at=100)
    with pytest.raises(DataError, match="joined: None there, 2 now"):
        join(tmp_path / "tiny")


def test_a_missing_shard_is_named(tmp_path):
    make_shards(tmp_path / "tiny", JOBS["plain"], 3, [1, 3])
    with pytest.raises(DataError, match=r"1 of 3 shards are missing, the first is .*shard-0002-of-0003\.\n.*shard=2/3"):
        join(tmp_path / "tiny")
    with pytest.raises(DataError):
        make_shards(tmp_path / "tiny", Job(Tiny(fails_at=100), "tiny"), 3, [2])
    with pytest.raises(DataError, match=r"0002-of-0003 \(not finished\)"):
        join(tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (Job(Tiny(seed=3), "tiny"), r"made with different options:\n  made\.seed: 0\n  made\.seed: 3\nMake one"),
        (Job(Tiny(), "tiny", BatchParser()), r"made\.parser: None\n  made\.parser: 'batch'"),
    ],
)
def test_shards_of_different_things(tmp_path, job, said):
    with pytest.raises(DataError, match=r"There are no shards of .*Make them with the options of the store and shard="):
        join(tmp_path / "tiny")
    make_shards(tmp_path / "tiny", JOBS["plain"], 2, [1])
    make_shards(tmp_path / "tiny", job, 2, [2])
    with pytest.raises(DataError, match=said):
        join(tmp_path / "tiny")


def test_shards_of_different_numbers(tmp_path):
    make_shards(tmp_path / "tiny", JOBS["plain"], 2)
    make_shards(tmp_path / "tiny", JOBS["plain"], 3, [3])
    with pytest.raises(DataError, match=r"different totals: .*-of-0002, .*shard-0003-of-0003\. Keep one kind"):
        join(tmp_path / "tiny")


@pytest.mark.parametrize("name", ["hr.npy", "index.csv", "tried.bin", "state.json"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_shard_is_named(tmp_path, name, gone):
    make_shards(tmp_path / "tiny", JOBS["plain"], 2)
    file = tmp_path / "tiny.shard-0002-of-0002" / name
    file.unlink() if gone else os.truncate(file, file.stat().st_size - 7)
    with pytest.raises(DataError, match=rf"shard-0002-of-0002(/{name} has .* bytes instead of| is no shard)"):
        join(tmp_path / "tiny")


def test_nothing_is_overwritten(tmp_path):
    make_shards(tmp_path / "tiny", JOBS["plain"], 2)
    first = contents(Shard(1, 2).path(tmp_path / "tiny"))
    make_shards(tmp_path / "tiny", JOBS["plain"], 2, [1])
    with pytest.raises(DataError, match=r"-0001-of-0002 was made with other options: made\.seed is 0 there, 3 now"):
        make_shards(tmp_path / "tiny", Job(Tiny(seed=3), "tiny"), 2, [1])
    assert contents(Shard(1, 2).path(tmp_path / "tiny")) == first
    join(tmp_path / "tiny")
    for again in (join, lambda path: make_shards(path, JOBS["plain"], 2)):
        with pytest.raises(DataError, match="tiny exists already"):
            again(tmp_path / "tiny")


def test_names_that_look_like_patterns(tmp_path, wholes):
    make_shards(tmp_path / "tiny[1]*", JOBS["plain"], 2)
    make_shards(tmp_path / "tiny1", JOBS["plain"], 3, [1])
    assert contents(join(tmp_path / "tiny[1]*").path) == wholes["plain"]


def test_two_shards_are_made_at_once(tmp_path, wholes):
    job = JOBS["plain"]
    candidates = job.source.candidates()
    with job.writer(Shard(1, 2).path(tmp_path / "tiny"), job.plan(candidates)):
        make_shards(tmp_path / "tiny", job, 2, [2])
        with pytest.raises(DataError, match="Another process is writing"):
            make_shards(tmp_path / "tiny", job, 2, [1])
    make_shards(tmp_path / "tiny", job, 2, [1])
    shutil.move(tmp_path / "tiny.shard-0002-of-0002", tmp_path / "moved")  # as from another machine
    shutil.copytree(tmp_path / "moved", tmp_path / "tiny.shard-0002-of-0002")
    assert contents(join(tmp_path / "tiny").path) == wholes["plain"]
