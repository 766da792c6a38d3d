"""What a reader of the pages has: downloads, a store, photographs, and a run that was trained as the pages say."""

import shutil
import sys

import pytest
import torch

from pkdn_lightning.__main__ import main
from pkdn_lightning.demo.examples import group
from pkdn_lightning.networks.bisenet import BiSeNet
from tests.conftest import write_store
from tests.docs.commands import RUN, exit_status
from tests.docs.running import small
from tests.extension.conftest import TEMPLATE
from tests.networks.published import STATES
from tests.predict.conftest import face
from tests.prepare import publishers


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    """A home with what others publish: CelebA, BiSeNet's weights, SPARNet's weights."""
    home = tmp_path_factory.mktemp("home")
    publishers.celeba(home / "Downloads/celeba")
    torch.manual_seed(0)
    parser = BiSeNet()
    torch.nn.init.normal_(parser.conv_out.conv_out.weight)  # or one class wins everywhere
    torch.save(parser.state_dict(), home / "Downloads/79999_iter.pth")
    torch.save(STATES["SPARNet"](), home / "Downloads/sparnet.pth")
    return home


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a store of portraits of 128 px, called celeba, and a student that was trained on it."""
    folder = tmp_path_factory.mktemp("trained")
    write_store(folder / "stores/celeba", size_px=128, counts={"train": 8, "val": 2, "test": 2})
    command = ["train", "experiment=student_celeba", f"run_dir=runs/student_celeba/{RUN}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(sys, "argv", ["pkdn", *small(command)])
        assert exit_status(main) == 0
    return folder


@pytest.fixture(autouse=True)
def _own_parts(request, tmp_path):
    """The reader of docs/extending.md is in the folder that it describes."""
    block = getattr(request.node, "callspec", None) and request.node.callspec.params.get("block")
    if block and block.page.name == "extending.md":
        shutil.copytree(TEMPLATE, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def reader(tmp_path, monkeypatch, downloads, trained):
    """A folder of their own, which they are in."""
    monkeypatch.setenv("HOME", str(downloads))
    (tmp_path / "stores").mkdir()
    for name in ("celeba", "helen", "celebamask_hq"):
        (tmp_path / "stores" / name).symlink_to(trained / "stores/celeba")
    shutil.copytree(trained / "runs", tmp_path / "runs")
    shutil.copytree(tmp_path / "runs/student_celeba" / RUN, tmp_path / "runs/student_celeba/lambdas/seed-0")
    (tmp_path / "published.pth").symlink_to(downloads / "Downloads/sparnet.pth")
    for name in ("photos", "old"):
        (tmp_path / name).mkdir()
    face(1, 16).save(tmp_path / "photos/small.png")
    group().save(tmp_path / "old/group.jpg", quality=95)
    return tmp_path
