"""Models outside a run folder: what is written is read, from a folder, a file, the hub and its cache."""

import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from pkdn_lightning import load_model
from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.models import pretrained
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.models.pretrained import read_pretrained, write_pretrained
from pkdn_lightning.networks.pkdn import PKDNStudent

CARD = {
    "network": {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent", "width": 4, "rcabs_per_level": 1},
    "scale": 8, "encoding": "colour", "degradation": "pil", "experiment": "tiny", "data": None,
}  # fmt: skip


@pytest.fixture
def net():
    return PKDNStudent(width=4, rcabs_per_level=1).eval()


@pytest.fixture
def folder(tmp_path, net) -> Path:
    write_pretrained(tmp_path / "model", CARD, net.state_dict())
    return tmp_path / "model"


def same(found, net) -> bool:
    return all(torch.equal(value, net.state_dict()[name]) for name, value in found.state_dict().items())


def test_what_is_written_is_read(folder, net):
    loaded = load_network(folder)
    assert same(loaded.net, net)
    assert loaded.card == CARD
    assert same(load_model(folder / "model.safetensors"), net)
    assert json.loads((folder / "config.json").read_text())["library_name"] == "pkdn-lightning"


def test_a_lone_file_knows_its_network(folder, net, tmp_path):
    lone = (folder / "model.safetensors").rename(tmp_path / "alone.safetensors")
    assert same(load_model(lone), net)


def test_a_file_without_a_card_takes_the_one_beside_it(folder, net, tmp_path):
    file = tmp_path / "bare.safetensors"
    save_file(load_file(folder / "model.safetensors"), file)
    with pytest.raises(CheckpointError, match="no description of their network"):
        load_model(file)
    (folder / "config.json").rename(tmp_path / "bare.json")
    assert same(load_model(file), net)
    (tmp_path / "bare.json").write_text("[]")
    with pytest.raises(CheckpointError, match="it is a list of 0, expected a mapping"):
        load_model(file)
    (tmp_path / "bare.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        load_model(file)


def test_a_folder_of_exported_files_needs_no_name_if_it_holds_one(tmp_path):
    (tmp_path / "model.int8.onnx").touch()
    assert pretrained.resolve_checkpoint(tmp_path) == tmp_path / "model.int8.onnx"
    (tmp_path / "model.onnx").touch()
    with pytest.raises(CheckpointError, match=r"holds model\.int8\.onnx, model\.onnx\. Name one of them: model=.*int8"):
        pretrained.resolve_checkpoint(tmp_path)


def test_nothing_is_overwritten(folder):
    with pytest.raises(CheckpointError, match="exists already"):
        write_pretrained(folder, CARD, {})


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_pretrained(tmp_path / "file" / "model", CARD, {})


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code was executed",))


@pytest.mark.parametrize("content", [pickle.dumps(Harmful()), b"", b"\x08\0\0\0\0\0\0\0{}"])
def test_what_is_no_safetensors_is_refused_whatever_its_name(tmp_path, content):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a safetensors file|no description"):
        load_model(file)


def test_a_renamed_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": Harmful()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_model(tmp_path / "model.safetensors")


def test_a_truncated_file(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        read_pretrained(file)


def test_only_networks_of_this_package_are_built(tmp_path, net):
    file = write_pretrained(tmp_path / "m", {**CARD, "network": {"_target_": "os.system"}}, net.state_dict())
    with pytest.raises(CheckpointError, match="names the network"):
        load_model(file)


class TestDefault:
    def test_it_is_what_the_package_brings(self, folder, net, monkeypatch, tmp_path):
        (folder / "model.safetensors").rename(tmp_path / "faces_x8.safetensors")
        monkeypatch.setattr(pretrained, "_INCLUDED", tmp_path)
        assert same(load_model("default"), net)

    def test_there_may_be_none(self, monkeypatch, tmp_path):
        monkeypatch.setattr(pretrained, "_INCLUDED", tmp_path / "nowhere")
        with pytest.raises(CheckpointError, match="includes no trained model"):
            load_model("default")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    folder: Path
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self):
        self._answer(body=True)

    def do_HEAD(self):
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        files = sorted(file.name for file in self.folder.iterdir())
        if path.startswith("/api/models/somebody/student/tree/"):
            answer = json.dumps(
                [{"type": "file", "path": name, "oid": "0" * 40, "size": (self.folder / name).stat().st_size}
                 for name in files]
            ).encode()  # fmt: skip
        elif path.startswith("/api/models/somebody/student"):
            siblings = [{"rfilename": name} for name in files]
            answer = json.dumps({"id": "somebody/student", "sha": self.commit, "siblings": siblings}).encode()
        elif path.startswith(f"/somebody/student/resolve/{self.commit}/") and path.rpartition("/")[2] in files:
            answer = (self.folder / path.rpartition("/")[2]).read_bytes()
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hash(answer):x}"')
        self.end_headers()
        if body:
            self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture
def hub(monkeypatch, folder, cache):
    Hub.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    yield server
    server.shutdown()
    server.server_close()


class TestHub:
    def test_a_model_is_fetched_once_and_then_cached(self, hub, net):
        assert same(load_model("somebody/student"), net)
        assert same(load_model("hf://somebody/student@main"), net)
        hub.shutdown()
        hub.server_close()
        assert same(load_model("somebody/student"), net)

    def test_an_unknown_model_is_named(self, hub):
        with pytest.raises(CheckpointError, match="'somebody/else' is not a path, and the hub does not provide it"):
            load_model("somebody/else")

    def test_a_repository_of_something_else(self, hub, folder):
        (folder / "model.safetensors").rename(folder / "other.bin")
        with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
            load_model("somebody/student")

    def test_without_network_or_copy_the_message_says_so(self, cache, monkeypatch):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointError, match="hub cannot be reached"):
            load_model("somebody/student")

    @pytest.mark.parametrize("name", ["runs/student", "./a/b", "nowhere"])
    def test_a_mistyped_path_never_asks_the_hub(self, name, monkeypatch, tmp_path):
        (tmp_path / "runs").mkdir()
        monkeypatch.setattr(pretrained, "fetch", lambda *_: pytest.fail("asked the hub"))
        with pytest.raises(CheckpointError, match="No run folder and no checkpoint"):
            load_model(name)

    def test_a_url_is_told(self):
        with pytest.raises(CheckpointError, match="is a URL"):
            load_model("https://example.org/model.safetensors")
