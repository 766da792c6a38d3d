"""The server: it speaks with nobody else, is not held up, and leaves nothing behind."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from pkdn_lightning.demo.server import SWEEPER, remove_abandoned, sweep
from pkdn_lightning.errors import ConfigError
from tests.predict.conftest import face

gradio = pytest.importorskip("gradio")
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
