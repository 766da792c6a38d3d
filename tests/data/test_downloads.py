"""Downloads: from a server in this process, which breaks off, forgets ranges, and changes its files."""

import errno
import hashlib
import http.server
import json
import re
import subprocess
import sys
import threading
from collections import namedtuple

import pytest

from pkdn_lightning.data import downloads
from pkdn_lightning.data.downloads import fetch, is_url
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.files import exclusive

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; the server's other attributes are the switches."""

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        change = server.changes.pop(0) if server.changes else {}
        for name, value in change.items():
            setattr(server, name, value)
        if server.status != 200:
            return self.send_error(server.status)
        content, tag = server.content, server.etag
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        known = (tag, "Mon, 01 Jan 2024 00:00:00 GMT" if server.dated else None)
        start = 0
        if wanted and server.ranges and (condition is None or condition in known or server.careless):
            start = int(wanted[1])
        if start >= len(content) > 0:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.told:
            self.send_header("Content-Length", str(len(content) - start))
        for name, value in (("ETag", tag), ("Last-Modified", known[1]), ("Content-Type", server.kind)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        end = len(content) if server.breaks_after is None else start + server.breaks_after
        self.wfile.write(content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.etag, server.dated, server.kind = CONTENT, '"one"', False, "application/zip"
        server.status, server.breaks_after, server.ranges, server.careless, server.told = 200, None, True, False, True
        server.changes, server.requests = [], []
        server.url = f"http://127.0.0.1:{server.server_port}/data/my%20faces.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of one's own, no waiting, and pieces small enough for a small file to break in the middle."""
    monkeypatch.setenv("PKDN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
    monkeypatch.setattr(downloads, "_CHUNK", 512)
    return tmp_path / "cache"


def fails(*words, url, **options) -> str:
    with pytest.raises(DataError) as error:
        fetch(url, **options)
    for word in words:
        assert word in str(error.value)
    assert str(error.value).count("\n") < 4
    return str(error.value)


def ranges(server):
    return [request.get("Range") for request in server.requests]


def visible(cache):
    return sorted(file.name for file in cache.iterdir() if not file.name.startswith("."))


def interrupt(server, after=HALF, **options):
    """Leaves the first part of a file behind."""
    server.breaks_after, server.changes = after, [{}, {"breaks_after": 0}]
    fails("cannot be downloaded after", url=server.url, **options)
    server.breaks_after, server.changes = None, []
    server.requests.clear()


def test_a_file_is_downloaded_once(server, cache, capsys):
    file = fetch(server.url, sha256=SHA256, size=len(CONTENT))
    assert file.read_bytes() == CONTENT
    assert file.parent == cache
    assert re.fullmatch("[0-9a-f]{8}-my faces.zip", file.name)
    assert visible(cache) == [file.name]
    assert fetch(server.url, sha256=SHA256.upper(), size=len(CONTENT)) == file
    assert len(server.requests) == 1
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert "pin it" not in capsys.readouterr().out


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_other_digests_are_named_in_front(server, algorithm):
    digest = hashlib.new(algorithm, CONTENT).hexdigest()
    assert fetch(server.url, sha256=f"{algorithm}:{digest}").read_bytes() == CONTENT


def test_without_a_digest_the_one_found_is_told_once(server, capfd):
    file = fetch(server.url)
    assert f"pin it with sha256={SHA256}" in capfd.readouterr().out.replace("\n", " ")
    assert fetch(server.url) == file
    out, err = capfd.readouterr()
    assert "sha256" not in (out + err).lower()
    assert len(server.requests) == 1


def test_a_folder_can_be_given(server, tmp_path, monkeypatch):
    assert fetch(server.url, folder=tmp_path / "mine").parent == tmp_path / "mine"
    monkeypatch.delenv("PKDN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert "pkdn-lightning" in str(downloads._folder(None))


def test_files_of_the_same_name_are_not_confused(server):
    first = fetch(server.url)
    server.content = b"another"
    second = fetch(server.url.replace("/data/", "/other/"))
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, b"another")


def test_an_empty_file_is_a_file(server):
    server.content = b""
    assert fetch(server.url, size=0).read_bytes() == b""


def test_a_file_of_unknown_length_arrives(server):
    server.told = False
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT


def test_a_broken_connection_is_taken_up_where_it_broke(server):
    server.breaks_after = 20_000
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    starts = [int(wanted[6:-1]) if wanted else 0 for wanted in ranges(server)]
    assert len(starts) > downloads._TRIES  # what brings something new does not count
    assert starts == sorted(set(starts))
    assert starts[1] > 20_000 - 2 * downloads._CHUNK


@pytest.mark.parametrize("dated", [False, True])
def test_the_next_call_goes_on_where_the_last_one_stopped(server, cache, dated):
    if dated:
        server.etag, server.dated = 'W/"weak"', True
    interrupt(server)
    part = next(cache.glob("*.part"))
    have = part.stat().st_size
    assert 0 < have <= HALF
    assert json.loads(part.with_name(f"{part.name}.json").read_text())["total"] == len(CONTENT)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={have}-"]
    assert server.requests[0]["If-Range"] == ("Mon, 01 Jan 2024 00:00:00 GMT" if dated else '"one"')
    assert not list(cache.glob("*.part*"))


def test_without_tag_and_date_only_a_digest_allows_going_on(server):
    server.etag = None
    interrupt(server, sha256=SHA256)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert ranges(server)[0]
    assert "If-Range" not in server.requests[0]


def test_without_tag_date_and_digest_it_starts_anew(server):
    server.etag, server.breaks_after = None, HALF
    fails("starts from the beginning", url=server.url)
    server.breaks_after = None
    server.requests.clear()
    assert fetch(server.url).read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_a_server_that_ignores_ranges_starts_anew(server):
    interrupt(server)
    server.ranges = False
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_server_that_ignores_ranges_and_breaks_off_ends(server):
    server.ranges, server.breaks_after = False, HALF
    fails("cannot be downloaded", url=server.url)
    assert len(server.requests) == downloads._TRIES


@pytest.mark.parametrize("careless", [False, True])
def test_a_file_that_changed_between_tries_starts_anew(server, careless):
    interrupt(server)
    server.content, server.etag, server.careless = CONTENT[::-1], '"two"', careless
    assert fetch(server.url).read_bytes() == CONTENT[::-1]


def test_a_file_that_became_shorter_starts_anew(server):
    interrupt(server)
    server.content, server.careless = b"short", True  # 416
    assert fetch(server.url).read_bytes() == b"short"


def test_a_file_that_had_come_whole_is_not_asked_for_again(server, cache):
    file = fetch(server.url)
    file.rename(file.with_name(f"{file.name}.part"))
    record = file.with_name(f"{file.name}.part.json")
    record.write_text(json.dumps({"validator": '"one"', "total": len(CONTENT)}))
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert not record.exists()


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"validator": "x", "total": 3}', '{"validator": 1, "total": "x"}'])
def test_a_spoiled_record_starts_anew(server, cache, record):
    interrupt(server)
    next(cache.glob("*.part.json")).write_text(record)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert ranges(server) == [None]


def test_a_server_that_is_busy_is_asked_again(server):
    server.changes = [{"status": 503}, {"status": 429}, {"status": 200}]
    assert fetch(server.url).read_bytes() == CONTENT
    server.status = 503
    fails("HTTP 503", "type the same command again", url=f"{server.url}2")


def test_no_network_says_where_to_put_the_file(server, cache):
    server.shutdown()
    server.server_close()
    message = fails(server.url, "refused", "HTTPS_PROXY", "put it at", url=server.url)
    place = message.splitlines()[-1].strip()
    assert "object at" not in message
    (cache / place).write_bytes(CONTENT)
    assert str(fetch(server.url, sha256=SHA256)) == place


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "There is no file"), (410, "There is no file"), (403, "may forbid"), (401, "may forbid"), (400, "HTTP 400")],
)
def test_a_refusal_is_told_at_once(server, cache, status, words):
    server.status = status
    fails(server.url, f"HTTP {status}", words, str(cache), url=server.url)
    assert len(server.requests) == 1
    assert visible(cache) == []


def test_a_page_in_the_files_stead_is_told(server, cache):
    server.content, server.kind = b"\n<!DOCTYPE html><title>Sign in</title>", "text/html; charset=utf-8"
    fails("web page", "login", str(cache), url=server.url, sha256=SHA256)
    assert visible(cache) == []
    server.content = CONTENT  # some servers call every file a page
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_bytes_are_told_and_removed(server, cache, algorithm):
    server.content = CONTENT[::-1]
    found, expected = (hashlib.new(algorithm, content).hexdigest() for content in (CONTENT[::-1], CONTENT))
    fails(
        server.url, f"has {algorithm}:{found}", f"expected {algorithm}:{expected}", "removed",
        url=server.url, sha256=f"{algorithm}:{expected}",
    )  # fmt: skip
    assert visible(cache) == []
    server.content = CONTENT
    assert fetch(server.url, sha256=f"{algorithm}:{expected}").read_bytes() == CONTENT
    assert ranges(server) == [None, None]


@pytest.mark.parametrize("told", [True, False])
def test_a_wrong_size_is_told(server, cache, told):
    server.told = told
    fails(f"has {len(CONTENT):,} bytes, expected 7", url=server.url, size=7)
    assert visible(cache) == []


@pytest.mark.parametrize("expected", [{"sha256": SHA256}, {"size": len(CONTENT)}])
def test_a_wrong_file_in_its_place_is_set_aside(server, cache, capsys, expected):
    file = fetch(server.url)
    file.write_bytes(b"by hand")
    assert fetch(server.url, **expected).read_bytes() == CONTENT
    assert file.with_name(f"{file.name}.wrong").read_bytes() == b"by hand"
    assert "downloading anew" in capsys.readouterr().out


def test_too_little_room_is_told_before_it_begins(server, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 50_000)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage)
    fails("no room", "50.0 kB are free", "102.4 kB are still to come", "PKDN_CACHE", url=server.url)


def test_a_disk_that_becomes_full_keeps_what_came(server, monkeypatch):
    real, room = downloads._write, [40]

    def full(file, chunk):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "_write", full)
        fails("no room", "goes on where it stopped", url=server.url)
    assert fetch(server.url, sha256=SHA256).read_bytes() == CONTENT
    assert ranges(server) == [None, f"bytes={40 * 512}-"]


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "file").touch()
    fails(str(tmp_path / "file"), "PKDN_CACHE", url=server.url, folder=tmp_path / "file" / "cache")


def test_several_at_once_download_it_once(server):
    files = []
    threads = [threading.Thread(target=lambda: files.append(fetch(server.url, sha256=SHA256))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(files)) == 1
    assert len(files) == 4
    assert files[0].read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_one_that_waits_says_so_and_takes_what_the_other_brought(server, cache, capsys):
    target = cache / downloads._name(server.url)
    cache.mkdir()
    with exclusive(target, "downloads"):
        thread = threading.Thread(target=fetch, args=(server.url,), kwargs={"sha256": SHA256})
        thread.start()
        thread.join(0.1)
        target.write_bytes(CONTENT)
    thread.join()
    assert "Waiting for another process" in capsys.readouterr().out
    assert server.requests == []


@pytest.mark.parametrize(
    "sha256", ["123", "md5:123", SHA256[:-1], f"{SHA256}0", f"crc:{SHA256}", f"md5:{SHA256}", "", "x" * 64]
)
def test_what_is_no_digest_is_told(server, sha256):
    with pytest.raises(ConfigError, match="sha256="):
        fetch(server.url, sha256=sha256)
    assert server.requests == []


def test_only_web_addresses_are_downloaded():
    for text in ("http://a/b", "https://example.org", "HTTPS://Example.org/x?y=z", "http://[::1]:80/x"):
        assert is_url(text)
    for text in ("faces.zip", "/data/faces.zip", "file:///x", "ftp://a/b", "https://", "https:///x", "http://a b", ""):
        assert not is_url(text)
    for text in ("http://[bad/x.zip", "http://a:99999999/x", "http://:80/x", "C:\\faces.zip"):
        assert not is_url(text)
    with pytest.raises(ConfigError, match="ftp://a/b"):
        fetch("ftp://a/b")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.org/faces.tar.gz?download=1", "faces.tar.gz"),
        ("https://a.org/records/1/files/faces.zip/content", "faces.zip"),
        ("https://a.org/get?file=sub/faces.zip", "faces.zip"),
        ("https://a.org/v1.0/get", "get"),
        ("https://a.org/", "file"),
        ("https://a.org/..%2F..%2Fevil.zip", ".._.._evil.zip"),
        ("https://a.org/%E9%A1%94.zip", "顔.zip"),
    ],
)
def test_the_name_is_what_the_address_calls_the_file(url, name):
    assert downloads._name(url).partition("-")[2] == name


def test_the_slow_libraries_are_imported_only_when_needed():
    command = "import sys, pkdn_lightning.data.downloads; print({'requests', 'pooch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", command], text=True).strip() == "set()"
