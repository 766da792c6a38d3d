"""The server: it speaks with nobody else, is not held up, and leaves nothing behind."""

import os
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from pkdn_lightning.demo.own_address import OwnAddressOnly
from pkdn_lightning.demo.server import SWEEPER, forget_sessions, remove_abandoned, sweep
from pkdn_lightning.errors import ConfigError
from tests.predict.conftest import face

httpx = pytest.importorskip("httpx")

UPLOAD = "gradio_api/upload"


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def until(condition, seconds=10.0):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def connections(monkeypatch):
    """Addresses that this process connects to."""
    known, real = [], socket.socket.connect

    def connect(self, address):
        known.append(address)
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return known


def test_uploads_are_deleted_and_endless_ones_ended(serve, connections, tmp_path):
    face().save(tmp_path / "face.png")
    with serve(keep_s=1, upload_s=1, upload_mb=1) as (address, folder):
        ours = files(folder)
        assert address.startswith("http://127.0.0.1:")
        host, port = address.removeprefix("http://").strip("/").split(":")
        with socket.create_connection((host, int(port))) as endless:
            head = f"POST /{UPLOAD} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900000\r\n"
            kind = "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            part = '--b\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'
            endless.sendall((head + kind + part).encode() + b"x" * 70_000)
            sent = httpx.post(address + UPLOAD, files={"files": (tmp_path / "face.png").open("rb")})
            assert sent.status_code == 200
            assert Path(sent.json()[0]).is_file()
            endless.settimeout(10)
            assert b" 408 " in endless.recv(4096)
        too_large = httpx.post(address + UPLOAD, files={"files": ("x.png", b"x" * 1_100_000)})
        assert too_large.status_code == 413
        assert until(lambda: files(folder) == ours)
    assert not folder.exists()
    assert {address[0] for address in connections} <= {"127.0.0.1", "::1", "localhost"}
    assert not any(thread.name == SWEEPER for thread in threading.enumerate())


@pytest.fixture(scope="module")
def statuses(serve):
    """Returns a function that asks for a page with headers, and gives the status."""
    with serve("names=[faces.example.org]") as (address, _):
        port = address.rpartition(":")[2].strip("/")

        def ask(host, origin=None, method="GET", path="config"):
            headers = {"Host": host.replace("PORT", port)}
            headers |= {"Origin": origin.replace("PORT", port)} if origin else {}
            return httpx.request(method, address + path, headers=headers, timeout=30).status_code

        yield ask


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [("127.0.0.1:PORT", None, 200), ("localhost:PORT", "http://localhost:PORT", 200), ("LOCALHOST.:1", None, 200),
     ("[::1]:PORT", None, 200), ("faces.example.org", "https://faces.example.org", 200),
     ("127.0.0.1:PORT", "https://faces.example.org", 200),  # a proxy that names this server
     ("evil.example", None, 421), ("evil.example:PORT", "http://evil.example:PORT", 421), ("", None, 421),
     ("localhost.evil.example", None, 421), ("192.0.2.1:PORT", None, 421), ("[::1", None, 421),
     ("127.0.0.1:PORT", "http://evil.example", 403), ("127.0.0.1:PORT", "null", 403),
     ("127.0.0.1:PORT", "http://127.0.0.1:1", 403)],
)  # fmt: skip
def test_only_requests_for_this_page_are_answered(statuses, host, origin, expected):
    assert statuses(host, origin) == expected
    if expected != 200:
        assert statuses(host, origin, "POST", UPLOAD) == expected


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [("192.0.2.1:8000", None, 200), (socket.gethostname(), None, 200), ("[2001:db8::1]", None, 200),
     ("a.example", None, 421), ("192.0.2.1", "http://192.0.2.2", 403), ("192.0.2.1", "http://[::1", 403)],
)  # fmt: skip
def test_open_to_all_it_still_refuses_foreign_names(host, origin, expected):
    client = TestClient(OwnAddressOnly(PlainTextResponse("ok"), "0.0.0.0"))
    assert client.get("/", headers={"Host": host} | ({"Origin": origin} if origin else {})).status_code == expected


def test_results_are_forgotten():
    now = datetime.now()
    used = {"old": now - timedelta(seconds=61), "new": now}
    sessions = SimpleNamespace(lock=threading.Lock(), time_last_used=used, session_data=dict.fromkeys(used))
    forget_sessions(sessions, 60)
    assert list(sessions.session_data) == list(sessions.time_last_used) == ["new"]


def test_what_a_killed_demo_left_is_removed_and_nothing_else(tmp_path):
    own = tmp_path / "pkdn_demo_own"
    for name in ("pkdn_demo_own", "pkdn_demo_alive", "pkdn_demo_killed", "somebody_else"):
        (tmp_path / name / "uploads").mkdir(parents=True)
        (tmp_path / name / "uploads/face.png").touch()
        (tmp_path / name / ".lock").touch()
    (tmp_path / "pkdn_demo_unlocked").mkdir()
    (tmp_path / "pkdn_demo_link").symlink_to(tmp_path / "somebody_else")
    code = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    alive = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "pkdn_demo_alive/.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    alive.stdout.readline()
    with FileLock(own / ".lock"):
        remove_abandoned(own)
        everything = {path.name for path in tmp_path.iterdir()}
        assert "pkdn_demo_killed" not in everything
        assert len(everything) == 5
        assert len(files(tmp_path)) == 6
        alive.kill()
        alive.wait()
        remove_abandoned(own)
    assert {path.name for path in tmp_path.iterdir()} == everything - {"pkdn_demo_alive"}


def test_a_port_that_is_taken(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="port=8000"), serve(f"port={taken.getsockname()[1]}"):
            pass


def test_sweeping_spares_what_is_new_and_ours(tmp_path):
    for name in ("old/a", "new/a", "ours/a"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    for path in (tmp_path / "old/a", tmp_path / "old", tmp_path / "ours/a", tmp_path / "ours"):
        os.utime(path, (0, 0))
    sweep(tmp_path, 60, frozenset({tmp_path / "ours", tmp_path / "ours/a"}))
    assert files(tmp_path) == {tmp_path / "new/a", tmp_path / "ours/a"}
    os.utime(tmp_path / "old", (0, 0))  # as new as what was deleted in it
    sweep(tmp_path, 60)
    assert not (tmp_path / "old").exists()
