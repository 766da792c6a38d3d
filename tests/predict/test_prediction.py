"""Predictions as a user asks for them: what is restored, what is refused, what is done once only."""

import json
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning import load_model
from pkdn_lightning import predict as verb
from pkdn_lightning.data.pixels import to_pixels, to_tensor
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError
from pkdn_lightning.metrics import psnr_y
from pkdn_lightning.predict import predict
from pkdn_lightning.predict import prediction as running
from pkdn_lightning.predict.manifest import FILE, sole_writer

from .conftest import blurred, face


def restored_by(net, lr: Image.Image) -> np.ndarray:
    with torch.inference_mode():
        return to_pixels(net(to_tensor([np.asarray(lr)])).sr)[0]


def test_a_folder_of_lr_faces(config, images, model):
    for number in range(5):
        face(number, 16).save(images / f"{number}.png")
    result = predict(config("batch_size=2"))
    assert result.failed == []
    net = load_model(model)
    for number in range(5):
        made = np.asarray(Image.open(result.folder / f"{number}.png"))
        np.testing.assert_allclose(made.astype(int), restored_by(net, face(number, 16)), atol=1)
    row = result.rows[0]
    assert (row.mode, row.decision, row.upscale) == ("lr", "LR of 16x16 -> restored, 128x128", 8)
    assert len(row.sha256) == len(row.model_sha256) == 64


@pytest.mark.parametrize("size", [(17, 17), (15, 16), (25, 31)])
def test_odd_sides_are_restored_by_the_included_models(size, config, images):
    picture = face(0, 32).resize(size)
    picture.save(images / "a.png")
    (row,) = (result := predict(config("model=default", "mode=lr"))).rows
    made = Image.open(result.folder / "a.png")
    assert (row.status, made.size) == ("restored", (size[0] * row.upscale, size[1] * row.upscale))
    enlarged = np.asarray(picture.resize(made.size, Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(np.asarray(made, dtype=float) - enlarged).mean() < 12  # not shifted


def test_an_enlarged_lr_comes_out_as_the_lr_does(config, images):
    face(2, 16).save(images / "a.png")
    blurred().save(images / "b.png")
    result = predict(config())
    a, b = (np.asarray(Image.open(result.folder / name)).astype(int) for name in ("a.png", "b.png"))
    assert np.abs(a - b).max() <= 3
    assert result.rows[1].mode == "aligned"


def test_a_photograph_with_two_faces(config, images, detector):
    image = Image.new("RGB", (300, 200), "gray")
    image.paste(blurred(2, 48), (20, 20))
    image.paste(blurred(4, 48), (180, 90))
    image.save(images / "a.jpg", quality=95)
    detector((20, 20, 48), (180, 90, 48))
    result = predict(config("upscale=2"))
    made = Image.open(result.folder / "a.png")
    assert made.size == (600, 400)
    enlarged = np.asarray(Image.open(images / "a.jpg").resize((600, 400), Image.Resampling.BICUBIC)).astype(int)
    difference = np.abs(np.asarray(made).astype(int) - enlarged).max(axis=2)
    assert difference[:30].max() == 0
    assert difference[60:120, 60:120].max() > 0
    assert [each["box"][2] for each in result.rows[0].faces] == [56, 56]


def test_one_restored_face_leaves_the_rest_of_a_photograph_as_it_is(config, images, detector):
    image = Image.new("RGB", (420, 160), "gray")
    for number in range(3):
        image.paste(blurred(4, 100) if number == 1 else face(number, 100), (20 + 130 * number, 20))
    image.save(images / "a.png")
    detector(*[(20 + 130 * number, 20, 100) for number in range(3)])
    [row] = predict(config()).rows
    made = Image.open(images.parent / "out" / "a.png")
    assert (row.status, row.upscale, made.size) == ("restored", 1, image.size)
    assert [bool(each.get("kept")) for each in row.faces] == [True, False, True]
    changed = np.abs(np.asarray(made).astype(int) - np.asarray(image)).max(axis=(0, 2))
    left, _, side = row.faces[1]["box"]
    assert changed[: left + 1].max() == changed[left + side - 1 :].max() == 0 < changed.max()


def test_what_is_copied_is_enlarged_with_the_others(config, images, detector):
    detector()
    Image.new("RGB", (60, 40), "teal").save(images / "a.png")
    result = predict(config("upscale=3"))
    assert result.summary() == "1 picture: 0 restored, 1 left alone, 0 failed"
    assert "no face was found" in result.rows[0].decision
    assert Image.open(result.folder / "a.png").size == (180, 120)


def test_another_process_that_writes_there_is_waited_for(config, images, capsys):
    face(0, 16).save(images / "a.png")
    with ThreadPoolExecutor() as pool:
        with sole_writer(images.parent / "out"):
            waiting = pool.submit(predict, config())
            while "Waiting for another process" not in capsys.readouterr().out:
                assert not waiting.done()
                time.sleep(0.05)
        assert waiting.result().failed == []


def test_a_result_that_a_killed_process_was_writing_is_written_again(config, images):
    face(0, 16).save(images / "a.png")
    out = images.parent / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"whole, but without its line")
    (out / ".unfinished").write_text("a.png")
    assert predict(config()).failed == []
    assert Image.open(out / "a.png").size == (128, 128)
    assert not (out / ".unfinished").exists()


def test_what_is_done_is_done_once(config, images, monkeypatch):
    for number in range(3):
        face(number, 16).save(images / f"{number}.png")
    predict(config())
    (images.parent / "out" / "1.png").unlink()
    before = (images.parent / "out" / "0.png").stat().st_mtime_ns
    result = predict(config())
    assert (result.skipped, result.failed) == (2, [])
    assert (images.parent / "out" / "0.png").stat().st_mtime_ns == before
    assert (images.parent / "out" / "1.png").is_file()
    assert predict(config("overwrite=true")).skipped == 0


def test_nothing_is_overwritten_unless_it_is_said(config, images):
    face(0, 16).save(images / "a.png")
    face(1, 16).save(images / "b.png")
    out = images.parent / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"precious")
    result = predict(config())
    assert [bool(row.error) for row in result.rows] == [True, False]
    for again in ("strength=1.0", "strength=0.5", "strength=1.0"):
        assert "was not made by pkdn" in predict(config(again)).rows[0].error
    assert (result.failed, result.kept) == ([], [result.rows[0]])
    assert "0 failed, 1 kept as they were" in result.summary()
    assert (out / "a.png").read_bytes() == b"precious"
    assert "was made with ensemble=none and is kept" in predict(config("ensemble=flip")).rows[1].error
    face(3, 16).save(images / "b.png")
    assert "was made before the input changed" in predict(config()).rows[1].error
    assert predict(config("overwrite=true")).failed == []
    assert Image.open(out / "a.png").size == (128, 128)


def test_the_input_is_never_replaced(config, images):
    face(0, 16).save(images / "a.png")
    before = (images / "a.png").read_bytes()
    with pytest.raises(ConfigError, match="would replace it"):
        predict(config(f"output={images}", "overwrite=true"))
    assert [each.name for each in images.iterdir()] == ["a.png"]
    assert (images / "a.png").read_bytes() == before


def test_results_of_earlier_predictions_are_no_inputs(config, images):
    face(0, 16).save(images / "a.png")
    predict(config(f"output={images / 'restored'}"))
    assert [Path(row.input).name for row in predict(config(f"output={images / 'again'}")).rows] == ["a.png"]


def test_stopped_work_goes_on(config, images, monkeypatch):
    for number in range(4):
        face(number, 16).save(images / f"{number}.png")
    restore, calls = running.restore_all, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return restore(*arguments)

    monkeypatch.setattr(running, "restore_all", stopped)
    with pytest.raises(DataError, match="Stopped by the keyboard(?s:.*)the same command continues"):
        predict(config("batch_size=1"))
    monkeypatch.setattr(running, "restore_all", restore)
    result = predict(config("batch_size=1"))
    assert (result.skipped, len(result.rows), result.failed) == (2, 4, [])


def test_the_flip_ensemble(config, images, model):
    face(2, 16).save(images / "a.png")
    made = np.asarray(Image.open(predict(config("ensemble=flip")).folder / "a.png")).astype(int)
    net, lr = load_model(model), to_tensor([np.asarray(face(2, 16))])
    with torch.inference_mode():
        mean = (net(lr).sr + net(lr.flip(-1)).sr.flip(-1)) / 2
    np.testing.assert_allclose(made, to_pixels(mean)[0], atol=1)


def test_references_are_measured_by_the_headline_protocol(config, images, tmp_path):
    (tmp_path / "true").mkdir()
    for number in range(2):
        face(number, 16).save(images / f"{number}.png")
    face(0).save(tmp_path / "true" / "0.bmp")
    result = predict(config(f"references={tmp_path / 'true'}"))
    made = Image.open(result.folder / "0.png")
    expected = psnr_y(to_tensor([np.asarray(made)]), to_tensor([np.asarray(face(0))])).item()
    assert result.metrics["psnr_y"] == pytest.approx(expected, abs=1e-9)
    assert result.rows[1].metrics == {}


class TestBadInput:
    """Each is told, the rest is done."""

    def test_a_folder_of_all_sorts(self, config, images):
        face(0, 16).save(images / "good.png")
        (images / "text.png").write_text("not an image")
        (images / "empty.jpg").write_bytes(b"")
        (images / "notes.txt").write_text("left out")
        (images / "clip.mp4").write_bytes(b"")
        whole = (images / "good.png").read_bytes()
        (images / "truncated.png").write_bytes(whole[: len(whole) // 2])
        Image.new("RGB", (1, 1)).save(images / "one.png")
        Image.new("1", (20_000, 20_000)).save(images / "bomb.png")
        face(1, 16).save(images / "animated.gif", save_all=True, append_images=[face(2, 16)])
        (images / "harmful.png").write_bytes(pickle.dumps(Harmful()))
        result = predict(config())
        errors = {row.output: row.error for row in result.rows}
        assert errors["good.png"] == errors["animated.png"] == ""
        assert "is no image" in errors["text.png"]
        assert "is empty" in errors["empty.png"]
        assert "truncated" in errors["truncated.png"] or "unreadable" in errors["truncated.png"]
        assert errors["one.png"] == ""
        (one,) = (row for row in result.rows if row.output == "one.png")
        assert (one.status, one.models, one.faces) == ("copied", {}, [])
        assert "it is 1x1: too small for a face" in one.decision
        assert "is too large" in errors["bomb.png"]
        assert "is no image" in errors["harmful.png"]
        assert "ffmpeg" in errors["clip.png"]
        assert "first of 2 images" in next(row.decision for row in result.rows if row.output == "animated.png")
        assert "notes" not in str(errors)
        written = [json.loads(line) for line in (result.folder / FILE).read_text().splitlines()]
        assert sum(bool(line["error"]) for line in written) == 6
        result = predict(config("mode=lr", f"input={images / 'one.png'}", "overwrite=true"))
        assert "LR 1x1 enlarged x8 is 8x8, but the sides have to be divisible by 16" in result.rows[0].error

    def test_a_size_the_network_cannot_take(self, config, images):
        face(0, 16).crop((0, 0, 15, 16)).save(images / "a.png")
        face(0, 16).crop((0, 0, 16, 14)).save(images / "b.png")
        result = predict(config("mode=lr"))
        assert "have to be divisible by 16" in result.rows[0].error
        assert Image.open(result.folder / "b.png").size == (128, 112)

    def test_a_reference_of_another_size(self, config, images, tmp_path):
        (tmp_path / "true").mkdir()
        face(0, 16).save(images / "a.png")
        face(0, 64).save(tmp_path / "true" / "a.png")
        assert "is 64x64, the result 128x128" in predict(config(f"references={tmp_path / 'true'}")).rows[0].error

    @pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors", "model.pt2", "model.onnx"])
    def test_a_model_that_would_run_code(self, config, images, tmp_path, name):
        if name.endswith("onnx"):
            pytest.importorskip("onnxruntime")
        face(0, 16).save(images / "a.png")
        (tmp_path / name).write_bytes(pickle.dumps(Harmful(), protocol=2))
        with pytest.raises(CheckpointError, match="cannot be read|could run code"):
            predict(config(f"model={tmp_path / name}", "trust=true"))

    @pytest.mark.parametrize(
        ("override", "error", "message"),
        [
            ("input=", ConfigError, "input= is not set"),
            ("output=", ConfigError, "output= is not set"),
            ("input=https://example.org/a.png", DataError, "is a URL"),
            ("model=https://example.org/a.ckpt", CheckpointError, "is a URL"),
            ("ensemble=flop", ConfigError, "Did you mean 'flip'"),
            ("precision=fp8", ConfigError, "precision=fp8: expected one of"),
            ("runtime=onnx", ConfigError, "pkdn export"),
            ("batch_size=0", ConfigError, "expected a whole number, 1 or more"),
            ("references=nowhere", DataError, "references=nowhere, which is not there: expected a folder"),
            ("references=a.txt", DataError, "references=a.txt, which is a file: expected a folder"),
            ("output=a.PNG", ConfigError, "output=a.PNG is the name of an image; expected a folder"),
        ],
    )
    def test_what_cannot_be_begun(self, config, images, override, error, message):
        face(0, 16).save(images / "a.png")
        Path("a.txt").touch()
        with pytest.raises(error, match=message):
            predict(config(override))


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("code was executed",))


def test_the_command_line_takes_paths_as_they_are_and_its_status_says_failure(
    model, images, monkeypatch, capsys, tmp_path
):
    name = "Photo (1), it's {a} = b$.png"
    face(0, 16).save(images / name)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    arguments = [f"model={model}", f"input={images / name}", "output=out dir, (2)", "accelerator=cpu"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *arguments])
    verb.main()
    assert (tmp_path / "out dir, (2)" / name).is_file()
    (images / "bad.png").write_text("")
    monkeypatch.setattr(sys, "argv", ["predict.py", arguments[0], f"input={images}", "output=out", "accelerator=cpu"])
    with pytest.raises(SystemExit) as caught:
        verb.main()
    assert caught.value.code == 1
    assert "1 of 2 could not be restored" in capsys.readouterr().err
    assert (tmp_path / "out" / name).is_file()
    (images / "bad.png").unlink()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "strength=0.5"])
    with pytest.raises(SystemExit):
        verb.main()
    told = capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "overwrite=true", "upscale=2"])
    verb.main()
    assert "upscale=2 is for photographs" in capsys.readouterr().out
    assert "1 of 1 not restored, because out has other files" in told
    assert "overwrite=true" in told
    assert "could not be restored" not in told
