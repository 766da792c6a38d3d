"""Running models: what a restorer promises, whatever is behind it."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
import torch

from pkdn_lightning.errors import CheckpointError, ConfigError, DeviceError, ShapeError
from pkdn_lightning.models.pretrained import write_pretrained
from pkdn_lightning.models.runtimes import flip_ensemble, load_runtime
from pkdn_lightning.networks.pkdn import PKDNStudent, PKDNTeacher

STUDENT = {"_target_": "pkdn_lightning.networks.pkdn.PKDNStudent", "width": 4, "rcabs_per_level": 1}
TEACHER = {"_target_": "pkdn_lightning.networks.pkdn.PKDNTeacher", "width": 4}
CARD = {"scale": 8, "encoding": "colour", "degradation": "pil", "experiment": "tiny", "data": None}


def faces(number, height, width):
    return np.random.default_rng(0).random((number, 3, height, width), dtype=np.float32)


@pytest.fixture
def student(tmp_path):
    return write_pretrained(
        tmp_path / "student", {**CARD, "network": STUDENT}, PKDNStudent(width=4, rcabs_per_level=1).state_dict()
    )


def test_a_restorer_of_torch(student):
    restorer = load_runtime(student)
    assert (restorer.scale, restorer.hr_px, restorer.lr_px, restorer.runtime) == (8, 128, 16, "torch")
    assert restorer(faces(2, 16, 16)).shape == (2, 3, 128, 128)
    assert restorer(faces(1, 18, 32)).shape == (1, 3, 144, 256)
    with pytest.raises(ShapeError, match="have to be divisible by 16"):
        restorer(faces(1, 17, 16))


def test_bf16_is_near_float32(student):
    lr = faces(1, 16, 16)
    exact, near = load_runtime(student)(lr), load_runtime(student, precision="bf16")(lr)
    assert near.dtype == np.float32
    assert 0 < np.abs(exact - near).max() < 0.02


def test_the_size_a_model_was_trained_for_is_its_own(tmp_path):
    card = {**CARD, "network": STUDENT, "size_px": 64}
    file = write_pretrained(tmp_path / "s", card, PKDNStudent(width=4, rcabs_per_level=1).state_dict())
    assert (load_runtime(file).hr_px, load_runtime(file).lr_px) == (64, 8)


@pytest.mark.parametrize(
    ("message", "kind", "advice"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", ConfigError, "smaller batch_size"),
        (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.",
            ConfigError,
            "smaller batch_size",
        ),
        ("CUDA error: an illegal memory access was encountered\nSearch for ...", DeviceError, "input is not the cause"),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", DeviceError, "input is not the cause"),
        ("Sizes of tensors must match except in dimension 1.", ShapeError, "cannot take LR of 16x16"),
    ],
)
def test_what_goes_wrong_is_told_by_its_cause(student, message, kind, advice):
    def failing(lr):
        raise RuntimeError(message)

    with pytest.raises(kind, match=advice) as caught:
        replace(load_runtime(student), restore=failing)(faces(1, 16, 16))
    assert kind is not DeviceError or message.splitlines()[0] in str(caught.value)


def test_errors_of_torchs_own_classes(student):
    cases = [(torch.OutOfMemoryError, ConfigError), (getattr(torch, "AcceleratorError", None), DeviceError)]
    for raised, kind in (case for case in cases if case[0]):
        with pytest.raises(kind):
            replace(load_runtime(student), restore=_raising(raised))(faces(1, 16, 16))


def _raising(kind):
    def restore(lr):
        raise kind("unspecified launch failure")

    return restore


def test_a_teacher_cannot_restore_a_face_that_nobody_knows(tmp_path):
    file = write_pretrained(tmp_path / "t", {**CARD, "network": TEACHER}, PKDNTeacher(width=4).state_dict())
    with pytest.raises(ConfigError, match="PKDNTeacher, which reads the parsing map"):
        load_runtime(file)


def test_the_flip_ensemble_commutes_with_mirroring(student):
    restore, lr = flip_ensemble(load_runtime(student).restore), faces(1, 16, 16)
    np.testing.assert_allclose(restore(lr[..., ::-1].copy()), restore(lr)[..., ::-1], atol=1e-5, rtol=1e-4)


def test_options_that_do_not_fit(student, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match="Export it first"):
        load_runtime(student, runtime="pt2")
    with pytest.raises(ConfigError, match="precision=bf16 is for runtime=torch"):
        load_runtime(tmp_path / "a.onnx", precision="bf16")
    with pytest.raises(ConfigError, match="Did you mean 'torch'"):
        load_runtime(student, runtime="tarch")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ModuleNotFoundError("no onnxruntime"), r"pip install 'pkdn-lightning\[export\]'"),
        (ImportError("libgomp.so.1 is missing"), "cannot be imported: libgomp.so.1 is missing\n.*--force-reinstall"),
    ],
)
def test_without_onnx_runtime_the_message_says_what_to_install(tmp_path, monkeypatch, error, advice):
    (tmp_path / "a.onnx").write_bytes(b"")
    importing = builtins.__import__

    def without(name, *arguments, **options):
        if name == "onnxruntime":
            raise error
        return importing(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=advice):
        load_runtime(tmp_path / "a.onnx")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + b"\0" * 18, b"junk" * 30])
@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_damaged_files(tmp_path, content, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime")
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.(onnx|pt2) (cannot be read|is not a program)"):
        load_runtime(file, trust=True)


def test_a_runtime_that_does_not_run_a_file_is_told_with_the_way_on(tmp_path):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(ConfigError, match=r"runtime=torch does not run .*model\.onnx\. Leave runtime=torch out"):
        load_runtime(tmp_path / "model.onnx", runtime="torch")
    with pytest.raises(ConfigError, match="runtime=onnx does not run portraits_x8. Export it first"):
        load_runtime("portraits_x8", runtime="onnx")
