"""The size of a face chooses the model, unless one is named."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pkdn_lightning.models import pretrained
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.predict.image_file import ImageFile
from pkdn_lightning.predict.models import ModelSet, choose_models, included_set
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


def test_a_named_model_is_the_only_one(model: Path):
    models = choose_models(str(model), load_runtime)
    assert ([each.name for each in models.photo], models.named) == (["tiny"], True)
    assert models.sha256() == load_runtime(model).sha256 != included_set(unloaded).sha256()


def test_what_suits_better_than_a_named_model(model: Path, included):
    named = ModelSet.of(load_runtime(model))
    assert [named.better(named.photo[0], px, photo=True) for px in (16, 40, 100)] == ["", "photos_x4", ""]
    assert included.better(included.photo[0], 40, photo=True) == ""
