"""The demo over thousands of visitors: its memory stays what it was."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.predict.conftest import face, model  # noqa: F401  # a fixture

httpx = pytest.importorskip("httpx")

PICTURES, WARM_UP = 2000, 200
SIDES = (16, 128, 131, 200, 333, 480, 640, 900)


def png(number: int) -> bytes:
    with io.BytesIO() as file:
        face(number % 9, 128 if SIDES[number % 8] == 128 else SIDES[number % 8]).save(file, "PNG")
        return file.getvalue()


def resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def restored(client, button: int, number: int, picture: bytes) -> bool:
    """Uploads a picture as a visitor of its own, presses the button, and waits for the answer."""
    visitor = f"visitor{number}"
    path = client.post("gradio_api/upload", files={"files": (f"{number}.png", picture)}).json()[0]
    kind = "Automatic" if number % 8 < 2 else "A face fills it"
    data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, kind, None, None]
    client.post("gradio_api/queue/join", json={"data": data, "fn_index": button, "session_hash": visitor})
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": visitor}) as answers:
        for line in answers.iter_lines():
            if line.startswith("data:") and (message := json.loads(line[5:]))["msg"] == "process_completed":
                return message["success"]
    return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_memory_stays_what_it_was(model):  # noqa: F811
    pytest.importorskip("gradio")
    command = [sys.executable, "-u", "-m", "pkdn_lightning.demo", f"model={model}", "browser=false", "threads=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"}) as server:
        try:
            address = next(found[1] for line in server.stdout if (found := re.search(r"tiny: (http://\S+)", line)))
            pictures, memory = [png(number) for number in range(72)], []
            with httpx.Client(base_url=address, timeout=60) as client:
                events = client.get("config").json()["dependencies"]
                button = next(each["id"] for each in events if any(target[1] == "click" for target in each["targets"]))
                for number in range(PICTURES):
                    assert restored(client, button, number, pictures[number % len(pictures)])
                    memory.append(resident_mb(server.pid))
        finally:
            server.terminate()
    print(f"MB after {WARM_UP} and {PICTURES} pictures:", memory[WARM_UP], memory[-1], "most:", max(memory))  # noqa: T201
    assert max(memory[WARM_UP:]) < 1.1 * memory[WARM_UP]
