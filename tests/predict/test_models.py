"""The size of a face chooses the model, unless one is named."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.models import pretrained
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.predict import predict
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.models import ModelSet, choose_models, fastest_form, included_set
from pkdn_lightning.predict.routing import decide

from .conftest import blurred, face


def unloaded(name: str):
    pytest.fail(f"{name} was loaded for a decision")


@pytest.fixture
def included() -> ModelSet:
    return included_set(unloaded)


@pytest.fixture
def without_photos(monkeypatch, tmp_path) -> ModelSet:
    for name in ("portraits_x4", "portraits_x8"):
        shutil.copy(pretrained.included_models()[name], tmp_path)
    monkeypatch.setattr(pretrained, "_INCLUDED", tmp_path)
    return included_set(unloaded)


@pytest.mark.parametrize(
    ("size", "name"),
    [((16, 16), "x8"), ((24, 24), "x8"), ((28, 28), "x4"), ((32, 32), "x4"), ((32, 24), "x4"), ((30, 30), "x8")],
)
def test_of_a_picture_that_is_a_small_face(included, size, name):
    """x4 takes sides that 4 divides; what it cannot take goes to x8."""
    decision = decide(ImageFile(face(2).resize(size)), included)
    assert (decision.mode, decision.models[0].name) == ("lr", f"portraits_{name}")


@pytest.mark.parametrize(("px", "name"), [(16, "x8"), (32, "x4")])
def test_of_an_enlarged_face(included, px, name):
    image = face(2, px).resize((128, 128), Image.Resampling.BICUBIC)
    decision = decide(ImageFile(image), included)
    assert (decision.mode, decision.models[0].name, decision.lr[0].shape[0]) == ("aligned", f"portraits_{name}", px)


@pytest.mark.parametrize(("side", "name"), [(18, "x8"), (30, "x4"), (54, "x4"), (100, None)])
@pytest.mark.parametrize("photos", [False, True])
def test_of_a_face_in_a_photograph(request, detector, side, name, photos):
    models = request.getfixturevalue("included" if photos else "without_photos")
    canvas = Image.new("RGB", (300, 200), "gray")
    canvas.paste(face(2, side), (50, 40))
    detector((50, 40, side))
    [found] = decide(ImageFile(canvas), models, mode="photo").faces
    if name is None:
        assert "more detail than the 32 px" in found.why_kept
        [found] = decide(ImageFile(canvas), models, mode="photo", faces="all").faces
    assert not found.why_kept
    assert found.model.name == f"{'photos' if photos else 'portraits'}_{name or 'x4'}"


def test_a_large_face_without_detail_is_restored(included, detector):
    canvas = Image.new("RGB", (300, 200), "gray")
    canvas.paste(blurred(2, 100), (50, 40))
    detector((50, 40, 100))
    [found] = decide(ImageFile(canvas), included).faces
    assert (found.why_kept, found.model.name) == ("", "photos_x8")


def test_the_default_stays_the_protocols_model(included):
    assert pretrained.included_models()["default"].stem == "portraits_x8"
    assert [model.name for model in included.photo] == ["photos_x8", "photos_x4"]


@pytest.mark.parametrize("name", ["photos_x4", "photos_x4_int8", "portraits_x8"])
def test_a_named_included_model_is_that_of_the_default(name, included):
    named = choose_models(name, unloaded)
    (model,) = {id(each): each for each in (*named.small, *named.photo)}.values()
    like = next(each for each in (*included.photo, *included.small) if each.name == name.removesuffix("_int8"))
    assert (model.name, model.lr_px, model.largest_px, model.step_px) == (
        like.name,
        like.lr_px,
        like.largest_px,
        like.step_px,
    )
    assert model.file.stem == name
    assert named.named


def test_a_model_for_degraded_faces_is_advised_where_such_a_one_was_named(included):
    named = choose_models("photos_x4", unloaded)
    assert named.better(named.small[0], 16, photo=False) == "photos_x8"
    assert choose_models("portraits_x4", unloaded).better(included.small[1], 16, photo=False) == "portraits_x8"


def test_a_named_model_is_the_only_one(model: Path):
    models = choose_models(str(model), load_runtime)
    assert ([each.name for each in models.photo], models.named) == (["tiny"], True)
    assert models.sha256() == load_runtime(model).sha256 != included_set(unloaded).sha256()


@pytest.mark.parametrize("name", ["portraits_x8", "portraits_x8_int8"])
def test_a_named_included_model_takes_odd_sides_as_the_default_does(images, tmp_path, name):
    pytest.importorskip("onnxruntime")
    face(0, 16).resize((17, 15)).save(images / "odd.png")

    def restored(*overrides: str) -> np.ndarray:
        told = [f"input={images}", f"output={tmp_path}/{len(overrides)}", "accelerator=cpu", *overrides]
        return np.asarray(Image.open(predict(compose("predict", told)).folder / "odd.png"))

    assert np.array_equal(restored(f"model={name}"), restored())


def test_what_suits_better_than_a_named_model(model: Path, included):
    named = ModelSet.of(load_runtime(model))
    assert [named.better(named.photo[0], px, photo=True) for px in (16, 40, 100)] == ["", "photos_x4", ""]
    assert included.better(included.photo[0], 40, photo=True) == ""


class TestTheDefaultRuntime:
    def restored(self, images, tmp_path, *overrides):
        """Returns the manifest's row and the faces of a prediction of six LR portraits."""
        for number in range(6):
            face(number, 16).save(images / f"{number}.png")
        told = [f"input={images}", f"output={tmp_path}/{len(overrides)}", "accelerator=cpu", *overrides]
        result = predict(compose("predict", told))
        pixels = [np.asarray(Image.open(result.folder / row.output)) for row in result.rows]
        return result.rows[0], np.stack(pixels).astype(float)

    def test_is_the_8_bit_file_whose_faces_are_nearly_those_of_float32(self, images, tmp_path, capsys):
        pytest.importorskip("onnxruntime")
        small, near = self.restored(images, tmp_path)
        assert "onnx in 8 bits (loses 0.0" in capsys.readouterr().out
        exact, faces = self.restored(images, tmp_path, "runtime=torch")
        assert (small.settings["runtime"], exact.settings["runtime"]) == ("onnx", "torch")
        assert small.models == exact.models == {"portraits_x8": 1}
        assert small.model_sha256 != exact.model_sha256
        true = np.stack([np.asarray(face(number)) for number in range(6)]).astype(float)
        psnr = [-10 * np.log10(((each - true) ** 2).mean((1, 2, 3)) / 255**2) for each in (faces, near)]
        assert 0 < np.abs(near - faces).max() < 40
        assert (psnr[0] - psnr[1]).mean() < 0.05

    def test_without_onnx_runtime_is_torch(self, images, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it fails
        row, faces = self.restored(images, tmp_path)
        assert row.settings["runtime"] == "torch"
        assert (faces == self.restored(images, tmp_path, "runtime=torch")[1]).all()

    @pytest.mark.parametrize("override", ["runtime=torch", "precision=bf16", "accelerator=gpu"])
    def test_is_torch_where_that_is_asked_for(self, override):
        assert fastest_form("portraits_x8", compose("predict", [override])) == "portraits_x8"

    def test_onnx_is_the_8_bit_file_on_any_device(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert fastest_form("portraits_x8", compose("predict", ["runtime=onnx"])) == "portraits_x8_int8"

    def test_is_torch_on_a_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert fastest_form("portraits_x8", compose("predict", [])) == "portraits_x8"
