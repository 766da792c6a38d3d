"""The teacher's faces that are computed once: what they hold, when they are computed again, and what they change."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pkdn_lightning.config.instances import build_network
from pkdn_lightning.data.batches import Plan
from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.errors import CheckpointError, ConfigError, PKDNError
from pkdn_lightning.models.checkpoints import LoadedNetwork
from pkdn_lightning.networks.pkdn import PKDNTeacher
from pkdn_lightning.train import train
from pkdn_lightning.train.build import build_datamodule, build_objective
from pkdn_lightning.train.resume import saved_config
from pkdn_lightning.train.teacher_cache import check_cacheable, teacher_faces
from tests.train.conftest import stop_at

CPU = torch.device("cpu")


@pytest.fixture
def own_store(store, tmp_path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "stores/faces"))


@pytest.fixture
def config(tiny_config, own_store):
    """Returns a function that composes a short distillation from a teacher's faces."""
    options = (f"data.store={own_store}", "objective=distillation_image", "data.flip_probability=0.5")
    return lambda *more, **run: tiny_config(*options, *more, **run)


@pytest.fixture
def parts(config):
    """Returns an untrained teacher and the data of a configuration."""

    def make(*options):
        cfg = config("teacher.cache=true", *options)
        torch.manual_seed(0)
        teacher = LoadedNetwork(build_network(cfg.teacher.model).eval(), {}, Path("teacher"), "a" * 64)
        return cfg, teacher, build_datamodule(cfg.data, seed=0, require_parsing=True)

    return make


def cached(folder: Path) -> list[Path]:
    return sorted(folder.glob("faces*.npy"))


def test_they_are_those_of_each_face_and_its_mirror_image(parts, own_store, capsys):
    cfg, teacher, data = parts()
    faces = teacher_faces(cfg, teacher, data, CPU)
    assert (faces.shape, faces.dtype, isinstance(faces, np.memmap)) == ((13, 2, 3, 32, 32), np.float16, True)
    assert "Computing the teacher's 13 x 2 faces" in capsys.readouterr().out
    for mirrored in (False, True):
        batch = data.batch(Plan(np.array([3, 12]), np.full(2, mirrored)))
        with torch.no_grad():
            expected = teacher.net(batch["lr"], batch["parsing"]).sr
        torch.testing.assert_close(torch.from_numpy(faces[[3, 12], int(mirrored)]).float(), expected, rtol=0, atol=1e-3)
    teacher_faces(*parts("data.flip_probability=0"), CPU)  # half as many
    assert [np.load(file).shape[1] for file in cached(own_store.parent)] in ([1, 2], [2, 1])


def test_a_batch_holds_those_of_its_faces(parts):
    for options in ("data.resident=true",), ("data.resident=false",):
        _, _, data = parts(*options)
        data.teacher_faces = np.arange(26, dtype=np.float16).reshape(13, 2, 1, 1, 1).repeat(3, 2)
        for raw in data.train_dataloader():
            batch = data.on_after_batch_transfer(raw, 0)
            wanted = 2 * raw["row"] + raw.get("mirrored", torch.zeros(4))
            assert batch["teacher_sr"][:, 0, 0, 0].tolist() == wanted.tolist()
        assert all("teacher_sr" not in raw for raw in data.val_dataloader())


def test_another_teacher_store_or_input_has_another_file(parts, own_store, monkeypatch):
    cfg, teacher, data = parts()
    teacher_faces(cfg, teacher, data, CPU)
    teacher_faces(cfg, teacher._replace(sha256="b" * 64), data, CPU)
    cfg.data.parsing_damage = "empty"
    teacher_faces(cfg, teacher, data, CPU)
    monkeypatch.setattr(FaceStore, "sha256", "other faces")
    teacher_faces(cfg, teacher, data, CPU)
    assert len(cached(own_store.parent)) == 4


DAMAGE = {
    "part of an array": lambda file: file.write_bytes(file.read_bytes()[:-1000]),
    "no array": lambda file: file.write_bytes(b"faces"),
    "float32 of shape": lambda file: np.save(file, np.zeros((13, 2, 3, 32, 32), np.float32)),
    "has changed since": lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\x11"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_computed_again(parts, own_store, capsys, damage):
    made = parts()
    whole = teacher_faces(*made, CPU).copy()
    (file,) = cached(own_store.parent)
    DAMAGE[damage](file)
    capsys.readouterr()
    assert np.array_equal(teacher_faces(*made, CPU), whole)
    printed = capsys.readouterr().out
    assert f"{file} " in printed
    assert "computed again" in printed


def test_a_copy_is_used_as_it_is(parts, own_store, capsys):
    made = parts()
    teacher_faces(*made, CPU)
    (file,) = cached(own_store.parent)
    file.write_bytes(file.read_bytes())  # of another date
    capsys.readouterr()
    teacher_faces(*made, CPU)
    assert not capsys.readouterr().out


def test_what_cannot_be_written_or_kept_says_what_to_do(parts, own_store, monkeypatch):
    made = parts()
    with torch.no_grad():
        next(made[1].net.parameters()).fill_(float("nan"))
    with pytest.raises(CheckpointError, match="not finite"):
        teacher_faces(*made, CPU)
    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(ConfigError, match=r"(?s)full.*teacher\.cache=false"):
        teacher_faces(*made, CPU)
    assert not cached(own_store.parent)


REFUSED = {
    "objective=distillation": "objective.fs.weight=0",
    "objective=distillation_attention": "objective.fs.weight=0",
    "data.augmentation.zoom_in=0.1": "data.augmentation.zoom_in=0",
    "degradation=blind": "degradation=bicubic",
    "data.parsing_damage=other": "data.parsing_damage=none",
}


@pytest.mark.parametrize("option", REFUSED)
def test_what_changes_from_step_to_step_is_refused(config, tmp_path, option):
    with pytest.raises(ConfigError, match=f"Set {REFUSED[option]}, or teacher.cache=false"):
        train(config(option, "teacher.cache=true"))
    assert not (tmp_path / "runs").exists()  # before a teacher is trained


@pytest.mark.parametrize("option", ["degradation=bicubic", "data.degradation=matlab", "objective.ts.term.distance=l2"])
def test_what_does_not_change_is_accepted(config, option):
    cfg = config(option, "teacher.cache=true")
    check_cacheable(cfg, build_objective(cfg.objective))


def losses(run) -> np.ndarray:
    rows = csv.DictReader(run.metrics.read_text().splitlines())
    return np.array([[float(row[f"train/loss/{name}"]) for name in ("sr", "ts")] for row in rows if row["train/loss"]])


def test_a_student_learns_the_same_without_running_its_teacher(config, own_store, monkeypatch):
    run = train(config(run="live")).run
    live = losses(run)
    first = train(config("teacher.cache=true", run="first")).run
    assert live.shape == (6, 2)
    np.testing.assert_allclose(losses(first), live, rtol=0, atol=3e-4)
    assert len(cached(own_store.parent)) == 1

    monkeypatch.setattr(PKDNTeacher, "forward", None)  # calling it would be an error; the sample grid shows its faces
    stop_at(monkeypatch, 4)
    with pytest.raises(PKDNError, match="Stopped after step 4"):
        train(config("teacher.cache=true", "callbacks.grid=null", run="second"))
    second = train(saved_config("second", [])).run
    ended = [torch.load(each.last, weights_only=True)["state_dict"] for each in (first, second)]
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])
