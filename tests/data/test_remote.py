"""Files from a server in this process, which breaks off, forgets ranges and changes its files; stores from memory."""

import errno
import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pkdn_lightning.data import remote
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.remote import fetch, fetch_store
from pkdn_lightning.data.store import FaceStore, verify_store
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.files import exclusive

CONTENT = np.random.default_rng(0).bytes(2_500_000)
OTHER = CONTENT[::-1]
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2
URL = "memory://bucket/faces"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; the server's other attributes are the switches."""

    def do_GET(self):
        server, head = self.server, self.command == "HEAD"
        if not head:
            server.ranges_asked.append(self.headers.get("Range"))
            for name, value in (server.changes.pop(0) if server.changes else {}).items():
                setattr(server, name, value)
        if server.status != 200 or (head and not server.head):
            return self.send_error(server.status if server.status != 200 else 405)
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, server.etag, server.date)
        start = int(wanted[1]) if wanted and server.ranges and same else 0
        content = server.content[start:]
        if start and not content:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.told:
            self.send_header("Content-Length", str(len(content)))
        for name, value in (("ETag", server.etag), ("Last-Modified", server.date), ("Content-Type", server.kind)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if head or server.breaks_after is None:
            self.wfile.write(b"" if head else content)
        else:
            self.wfile.write(content[: server.breaks_after])
            time.sleep(0.05)  # a break comes after what was sent before it

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.etag, server.date, server.kind = CONTENT, '"one"', None, "application/zip"
        server.status, server.breaks_after, server.ranges, server.told, server.head = 200, None, True, True, True
        server.changes, server.ranges_asked = [], []
        server.url = f"http://127.0.0.1:{server.server_port}/data/my%20faces.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PKDN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(remote, "_PAUSE_S", 0.0)
    return tmp_path / "cache"


def fails(url, *words, **options) -> str:
    with pytest.raises(DataError) as error:
        fetch(url, **options)
    for word in words:
        assert word in str(error.value)
    assert str(error.value).count("\n") < 4
    return str(error.value)


def visible(cache):
    return sorted(file.name for file in cache.iterdir() if not file.name.startswith("."))


def interrupt(server, **options) -> None:
    """Leaves the first part of a file behind."""
    server.breaks_after, server.changes = HALF, [{}, {"breaks_after": 0}]
    fails(server.url, "cannot be downloaded", **options)
    server.breaks_after, server.ranges_asked = None, []


def test_a_file_is_downloaded_once(server, cache, capsys):
    file = fetch(server.url, sha256=SHA256)
    assert file.read_bytes() == CONTENT
    assert visible(cache) == [file.name]
    assert re.fullmatch("[0-9a-f]{8}-my faces.zip", file.name)
    assert fetch(server.url, sha256=SHA256.upper()) == file
    assert server.ranges_asked == [None]
    assert "To pin" not in capsys.readouterr().out


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_other_digests_are_named_in_front(server, algorithm):
    digest = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    assert fetch(server.url, sha256=digest).read_bytes() == CONTENT


def test_without_a_digest_the_one_found_is_told_once(server, capfd):
    file = fetch(server.url)
    assert f"sha256={SHA256}" in capfd.readouterr().out
    assert fetch(server.url) == file
    assert "sha256" not in "".join(capfd.readouterr())
    server.content = b"another"
    other = fetch(server.url.replace("/data/", "/other/").replace("http", "HTTP"))  # of the same name
    assert (file.read_bytes(), other.read_bytes()) == (CONTENT, b"another")


@pytest.mark.parametrize("switches", [{"content": b""}, {"told": False}, {"head": False}, {"kind": "text/html"}])
def test_unusual_servers(server, switches):
    vars(server).update(switches)
    assert fetch(server.url).read_bytes() == server.content


def test_a_broken_connection_continues_where_it_broke(server):
    server.breaks_after = 500_000
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    starts = [int(wanted[6:-1]) if wanted else 0 for wanted in server.ranges_asked]
    assert starts == sorted(set(starts))
    assert len(starts) > remote._ATTEMPTS  # attempts that bring something new do not count


@pytest.mark.parametrize("told_by", [{}, {"etag": 'W/"weak"'}, {"etag": None, "date": "Mon, 01 Jan 2024 00:00:00 GMT"}])
def test_the_next_call_continues_where_the_last_one_stopped(server, cache, told_by):
    vars(server).update(told_by)
    interrupt(server)
    [part] = cache.glob("*.part")
    have = part.stat().st_size
    assert 0 < have <= HALF
    assert fetch(server.url).read_bytes() == CONTENT
    assert server.ranges_asked == [f"bytes={have}-"]
    assert not list(cache.glob("*.part"))


def test_a_digest_alone_allows_continuing(server):
    server.etag = None
    interrupt(server, sha256=SHA256)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges_asked[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": None}, {}),  # nothing says that it is the same file
        ({}, {"ranges": False}),
        ({}, {"content": OTHER, "etag": '"two"'}),
        ({}, {"content": b"short"}),
    ],
)
def test_what_cannot_be_continued_begins_again(server, before, after):
    vars(server).update(before)
    interrupt(server)
    vars(server).update(after)
    assert fetch(server.url).read_bytes() == server.content


def test_a_file_that_changes_between_two_requests_begins_again(server):
    interrupt(server)
    server.changes = [{"content": OTHER, "etag": '"two"'}]
    assert fetch(server.url).read_bytes() == OTHER


def test_a_server_without_ranges_that_always_breaks_ends(server):
    server.ranges, server.breaks_after = False, HALF
    fails(server.url, "cannot be downloaded after")
    assert len(server.ranges_asked) <= 2 * remote._ATTEMPTS


def test_a_complete_part_is_only_checked(server, cache, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_hash", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            fetch(server.url, sha256=SHA256)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges_asked == [None]


def test_a_busy_server_is_asked_again(server):
    server.head, server.changes = False, [{"status": 503}, {"status": 429}, {"status": 200}]
    assert fetch(server.url).read_bytes() == CONTENT
    server.status = 503
    fails(f"{server.url}2", "HTTP 503", "Check the network")


def test_no_network_says_where_to_save_the_file(server):
    server.shutdown()
    server.server_close()
    message = fails(server.url, server.url, "Cannot connect", "HTTPS_PROXY", "save it as")
    place = Path(message.splitlines()[-1].strip())
    place.write_bytes(CONTENT)
    assert fetch(server.url, sha256=SHA256) == place


@pytest.mark.parametrize(
    ("status", "words"), [(404, "new address"), (410, "Gone"), (403, "login"), (401, "login"), (400, "Bad Request")]
)
def test_a_refusal_is_told_at_once(server, cache, status, words):
    server.status = status
    fails(server.url, server.url, f"HTTP {status}", words, str(cache))
    assert len(server.ranges_asked) == 1
    assert visible(cache) == []


def test_a_web_page_instead_of_the_file_is_told(server, cache):
    server.content, server.kind = b"\n<!DOCTYPE html><title>Sign in</title>", "text/html; charset=utf-8"
    fails(server.url, "web page", "login", str(cache), sha256=SHA256)
    server.content, server.kind = CONTENT, "application/zip"
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_bytes_are_told_and_removed(server, cache, algorithm):
    server.content = OTHER
    found, expected = (f"{algorithm}:{hashlib.new(algorithm, each).hexdigest()}" for each in (OTHER, CONTENT))
    fails(server.url, server.url, f"has {found}, expected {expected}", sha256=expected)
    assert visible(cache) == []
    server.content = CONTENT
    assert fetch(server.url, sha256=expected).read_bytes() == CONTENT


def test_a_wrong_file_in_its_place_is_set_aside(server, capsys):
    file = fetch(server.url)
    file.write_bytes(b"by hand")
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert file.with_name(f"{file.name}.wrong").read_bytes() == b"by hand"
    assert "downloading again" in capsys.readouterr().out


def test_too_little_room_is_told_before_it_begins(server, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 50_000)
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: usage)
    fails(server.url, "50.0 kB free, 2.5 MB are needed", "PKDN_CACHE")
    assert server.ranges_asked == []


def test_a_disk_that_becomes_full_keeps_what_came(server, monkeypatch):
    real = remote._open_at

    class Full:
        def __init__(self, source):
            self.source, self.left = source, 2

        def read(self, size):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.source.read(size)

    @contextmanager
    def full(*arguments):
        with real(*arguments) as (source, begin):
            yield Full(source), begin

    with monkeypatch.context() as patch:
        patch.setattr(remote, "_open_at", full)
        fails(server.url, "No space left", "Free disk space", "resumes the download")
    assert fetch(server.url, sha256=None).read_bytes() == CONTENT
    assert re.fullmatch(r"bytes=\d+-", server.ranges_asked[1])


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PKDN_CACHE", str(tmp_path / "file" / "cache"))
    fails(server.url, str(tmp_path / "file"), "PKDN_CACHE")


def test_several_at_once_download_it_once(server):
    files = []
    threads = [threading.Thread(target=lambda: files.append(fetch(server.url, sha256=SHA256))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files) == 4
    assert {file.read_bytes() for file in files} == {CONTENT}
    assert server.ranges_asked == [None]


def test_one_that_waits_says_so_and_takes_what_the_other_brought(server, capsys):
    target = fetch(server.url)
    target.unlink()
    with exclusive(target, "downloads"):
        thread = threading.Thread(target=fetch, args=(server.url,))
        thread.start()
        thread.join(0.2)
        target.write_bytes(b"theirs")
    thread.join()
    assert "Waiting for another process" in capsys.readouterr().out
    assert target.read_bytes() == b"theirs"


@pytest.mark.parametrize("sha256", ["123", "md5:123", f"{SHA256}0", f"crc:{SHA256}", f"md5:{SHA256}", "", "x" * 64])
def test_what_is_not_a_digest_is_told(sha256):
    with pytest.raises(ConfigError, match="sha256="):
        fetch("http://127.0.0.1/a", sha256=sha256)


@pytest.mark.parametrize("text", ["faces.zip", "/data/faces.zip", "C:\\faces.zip", "http:/a", ""])
def test_what_is_not_a_url_is_told(text):
    with pytest.raises(ConfigError, match="is not a URL"):
        fetch(text)


@pytest.mark.parametrize("url", ["http://[bad/x.zip", "http://a:99999999/x", "nonsense://a/b", "memory://nothing"])
def test_a_url_that_leads_nowhere_is_told(url):
    fails(url, "cannot be downloaded")


def test_the_slow_libraries_are_imported_only_when_needed():
    command = "import sys, pkdn_lightning.data.remote; print({'fsspec', 'aiohttp'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", command], text=True).strip() == "set()"


@pytest.fixture
def bucket(store):
    """A file system in memory that holds a store at `URL`."""
    files = fsspec.filesystem("memory")
    files.put(f"{store.path}/*", "/bucket/faces/")
    yield files
    files.rm("/bucket", recursive=True)


def test_a_remote_store_is_fetched_once_and_reads_as_the_local_one(bucket, store):
    found = FaceStore.open(URL)
    np.testing.assert_array_equal(found.hr, store.hr)
    np.testing.assert_array_equal(found.parsing, store.parsing)
    assert (found.entries, found.sha256) == (store.entries, store.sha256)
    for name in ("hr.npy", "parsing.npy", "index.csv"):
        bucket.rm(f"/bucket/faces/{name}")
    assert fetch_store(URL) == found.path
    verify_store(URL)
    data = FaceSRDataModule(URL, scale=4, batch_size=4)
    data.setup("fit")
    assert data.store.sha256 == store.sha256


def test_an_interrupted_store_continues(bucket, store, monkeypatch):
    real, calls = remote._receive, []

    def stops(url, *arguments):
        part = real(url, *arguments)
        calls.append(url.rpartition("/")[2])
        if calls == ["hr.npy"]:
            part.write_bytes(part.read_bytes()[:1000])
            raise KeyboardInterrupt
        return part

    monkeypatch.setattr(remote, "_receive", stops)
    with pytest.raises(KeyboardInterrupt):
        fetch_store(URL)
    whole = bucket.cat("/bucket/faces/hr.npy")
    bucket.store["/bucket/faces/hr.npy"].seek(0)
    bucket.store["/bucket/faces/hr.npy"].write(bytes(1000))  # what is here already is not read again
    assert (fetch_store(URL) / "hr.npy").read_bytes() == whole
    verify_store(URL)


def test_a_store_made_anew_is_fetched_anew_and_a_damaged_file_is_told(bucket):
    first = fetch_store(URL)
    manifest = json.loads(bucket.cat("/bucket/faces/manifest.json"))
    manifest["sha256"]["index.csv"] = "0" * 64
    bucket.pipe("/bucket/faces/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(DataError, match=r"index\.csv has sha256:[0-9a-f]{64}, expected sha256:0{64}"):
        fetch_store(URL)
    assert (first / "index.csv").is_file()
    [second] = [folder for folder in first.parent.iterdir() if folder.is_dir() and folder != first]
    assert not (second / "manifest.json").exists()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, r"No store at memory://bucket/faces: there is no manifest\.json"),
        (b"{}", "memory://bucket/faces cannot be read"),
        (b'{"sha256": {"../evil": "00"}}', "files outside of the store"),
    ],
)
def test_a_store_that_is_missing_or_damaged_is_told(manifest, message):
    if manifest is not None:
        fsspec.filesystem("memory").pipe("/bucket/faces/manifest.json", manifest)
    with pytest.raises(DataError, match=message):
        FaceStore.open(URL)
    with pytest.raises(DataError, match="Protocol not known"):
        FaceStore.open("nonsense://bucket/faces")
