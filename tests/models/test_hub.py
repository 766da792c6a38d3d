"""Passing models on: what a run leaves becomes a folder with a card that says what the run recorded."""

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled

from pkdn_lightning import from_pretrained, load_model, push_to_hub, save_pretrained
from pkdn_lightning.errors import CheckpointError


@pytest.fixture
def run(own_run):
    return own_run


def test_a_run_is_passed_on_with_its_card(run, store, tmp_path):
    save_pretrained(run.path, tmp_path / "out")
    lr = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(from_pretrained(tmp_path / "out")(lr).sr, load_model(run.path)(lr).sr)
    card = (tmp_path / "out" / "README.md").read_text()
    results = run.read_results()
    data = huggingface_hub.ModelCard(card).data  # as the hub reads it
    assert (data.library_name, data.license, data.pipeline_tag) == ("pkdn-lightning", "other", "image-to-image")
    assert f"test/faces/psnr_y | {results['metrics']['test/faces/psnr_y']:.4f}" in card
    assert results["command"] in card
    assert f"Data: faces, store SHA-256 `{store.sha256[:16]}`, train 13, val 3, test 5" in card
    assert "not recorded with the data" in card  # the test's store names no licence
    # Passed on once more, it keeps the card, though no run folder is there to ask.
    save_pretrained(tmp_path / "out", tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text() == card


def test_a_card_without_a_run_says_what_is_not_known(run, tmp_path):
    save_pretrained(run.best.rename(tmp_path / "a.ckpt"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Not recorded. To measure it" in card


class FakeApi:
    endpoint = "https://hub.test"

    def __init__(self, token=None):
        self.token = token

    def create_repo(self, repo, **options):
        assert options == {"private": True, "exist_ok": True}

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        FakeApi.uploaded = repo_id, load_model(folder_path)


def test_a_run_is_pushed(run, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    assert push_to_hub(run.path, "me/student") == "https://hub.test/me/student"
    name, net = FakeApi.uploaded
    assert name == "me/student"
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), load_model(run.path).parameters(), strict=True))


def test_a_hub_that_refuses_is_told(run, monkeypatch):
    def refuse(*_, **__):
        raise OfflineModeIsEnabled("no network")

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(FakeApi, "create_repo", refuse)
    with pytest.raises(CheckpointError, match="rejected 'me/student': no network"):
        push_to_hub(run.path, "me/student")
