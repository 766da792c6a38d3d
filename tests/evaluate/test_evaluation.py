"""Evaluations: the same numbers wherever they are computed, and everything that is written."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensor

from pkdn_lightning.config import compose
from pkdn_lightning.console import console
from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.errors import CheckpointError, ConfigError, DataError
from pkdn_lightning.evaluate import evaluate
from pkdn_lightning.evaluate.measure import InputSpec, bicubic_method, measure
from pkdn_lightning.metrics import PROTOCOLS, psnr_y, ssim_y
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.models.model_card import model_card
from pkdn_lightning.train import train
from tests.fake_cuda import DEVICE, cuda_device, recorded


@pytest.fixture
def config(store, tmp_path):
    def make(*overrides: str):
        (tmp_path / "table").mkdir(exist_ok=True)
        places = [f"data.store={store.path}", f"run_dir={tmp_path / 'table'}", "data=folder", "data.name=faces"]
        return compose("evaluate", ["data.scale=4", "data.eval_batch_size=2", "accelerator=cpu", *places, *overrides])

    return make


def test_bicubic_is_the_floor_of_every_table(config, store):
    result = evaluate(config())
    hr = torch.from_numpy(store.hr[store.indices("test")]).permute(0, 3, 1, 2) / 255
    sr = enlarge(degrade(hr, 4), 4)
    found = result.means["bicubic"]
    assert found["test/faces/psnr_y"] == pytest.approx(psnr_y(sr, hr).mean().item(), abs=1e-9)
    assert found["test/faces/ssim_y"] == pytest.approx(ssim_y(sr, hr).mean().item(), abs=1e-9)


def test_training_and_evaluation_measure_the_same(config, trained_student, trained_teacher):
    student, teacher = trained_student, trained_teacher
    result = evaluate(config(f"models.student={student.run.path}", f"models.teacher={teacher.run.path}"))
    for name, run in {"student": student, "teacher": teacher}.items():
        for key in ("test/faces/psnr_y", "test/faces/ssim_y"):
            assert result.means[name][key] == pytest.approx(run.metrics[key], abs=1e-5)
    written = json.loads((result.folder / "results.json").read_text())
    assert list(written["methods"]) == ["bicubic", "student", "teacher"]
    assert len(written["methods"]["teacher"]["checkpoint"]["sha256"]) == 64
    assert written["data"]["faces"]["faces"] == 5
    # LR, bicubic, student, teacher, HR, parsing, error: seven columns of 32 px
    assert Image.open(result.folder / "grid_faces.png").size[0] == 7 * 32
    assert (result.folder / "table.md").read_text().count("\n") == 5


def test_a_blind_network_is_measured_as_in_training_and_may_be_measured_otherwise(config, tiny_config, capsys):
    run = train(tiny_config("objective=reconstruction", "degradation=blind", "data.blind.noise=[2,5]")).run
    card = load_network(run.path).card
    assert (card["degradation"], card["blind"]["noise"]) == ("blind", [2.0, 5.0])
    assert "HR after blur, resampling, noise and JPEG (`blind`: blur_probability 0.8," in model_card(
        load_network(run.path)
    )
    model = f"models.own={run.path}"
    blind = evaluate(config(model, "degradation=blind", "data.blind.noise=[2,5]")).means
    found = run.read_results()["metrics"]["test/faces/psnr_y"]
    assert blind["own"]["test/faces/psnr_y"] == pytest.approx(found, abs=1e-4)
    assert "trained with" not in capsys.readouterr().out
    clean = evaluate(config(model)).means
    assert "own was trained with degradation=blind, and is measured with degradation=pil." in capsys.readouterr().out
    assert clean["bicubic"]["test/faces/psnr_y"] > blind["bicubic"]["test/faces/psnr_y"]
    evaluate(config(model, "degradation=blind"))
    assert "degradation=blind of other strengths, and is measured" in capsys.readouterr().out.replace("\n", " ")


def test_evaluation_computes_without_tf32_and_says_so(config, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        result = evaluate(config())
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before)
    written = json.loads((result.folder / "results.json").read_text())
    assert written["tf32"] == {"matrix_products": False, "convolutions": False}


def test_a_batch_is_awaited_once(store, monkeypatch):
    """On a pretended CUDA device: one transfer back per batch, for all faces, methods and metrics."""
    transfers, methods = [], [bicubic_method(4), bicubic_method(4)._replace(name="again")]
    with cuda_device(monkeypatch), recorded() as recorder:
        monkeypatch.setattr(FakeTensor, "tolist", lambda x: transfers.append(x) or np.zeros(x.shape).tolist())
        rows = list(measure(methods, store, InputSpec("test", 4, "pil", 5), ["headline", "rgb"], DEVICE))
    assert len(rows) == 2 * 5
    there = ("StoreDataset", "functional/resize.py", "data/parsing.py")  # the faces, and constants once
    back = {wait: times for wait, times in recorder.waits.items() if not any(line in wait for line in there)}
    assert not back
    assert [tuple(each.shape) for each in transfers] == [(2 * 2 * 2, 5)]  # methods, protocols and metrics, of 5 faces
    assert transfers[0].device == DEVICE


def test_per_image_values_average_to_the_means(config):
    result = evaluate(config("protocols=[headline,rgb,float]", "split=val"))
    with (result.folder / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["face"] for row in rows] == ["013", "014", "015"]
    for key in ("psnr_y", "psnr_rgb", "ssim_float"):
        mean = sum(float(row[key]) for row in rows) / 3
        assert result.means["bicubic"][f"val/faces/{key}"] == pytest.approx(mean)


def test_several_stores_make_several_columns(config, store, bare_store):
    result = evaluate(config(f"data.test_stores.a={store.path}", f"data.test_stores.b={bare_store.path}"))
    assert set(result.means["bicubic"]) == {f"test/{name}/{key}" for name in "ab" for key in ("psnr_y", "ssim_y")}
    assert result.means["bicubic"]["test/a/psnr_y"] == result.means["bicubic"]["test/b/psnr_y"]


class TestErrors:
    def test_a_teacher_on_a_store_without_maps(self, config, trained_teacher, bare_store):
        with pytest.raises(DataError, match="no parsing maps, and teacher cannot"):
            evaluate(config(f"models.teacher={trained_teacher.run.path}", f"data.store={bare_store.path}"))

    def test_another_scale(self, config, trained_student):
        with pytest.raises(ConfigError, match=r"trained with data\.scale=4"):
            evaluate(config(f"models.student={trained_student.run.path}", "data.scale=8"))

    def test_the_name_of_the_baseline(self, config):
        with pytest.raises(ConfigError, match="every table has a row of that name"):
            evaluate(config("models.bicubic=runs/a"))
        assert list(evaluate(config("models.bicubic=bicubic")).means) == ["bicubic"]

    def test_unknown_protocol(self, config):
        with pytest.raises(ConfigError, match="Did you mean 'headline'"):
            evaluate(config("protocols=[hedline]"))

    def test_no_such_run(self, config):
        with pytest.raises(CheckpointError, match="No run folder"):
            evaluate(config("models.student=none"))


@pytest.mark.parametrize(("columns", "tables"), [(200, 1), (80, 3), (38, 9)])
def test_tables_have_whole_columns_on_narrow_terminals(config, capsys, monkeypatch, columns, tables):
    monkeypatch.setattr(console, "width", columns)
    evaluate(config(f"protocols=[{','.join(PROTOCOLS)}]"))
    shown = capsys.readouterr().out
    assert shown.count("│ bicubic │      - │") == tables
    assert "…" not in shown
    names = (name for line in shown.splitlines() if "method" in line for name in line.split("┃")[3:-1])
    assert [name.strip() for name in names][:4] == ["psnr_y", "ssim_y", "psnr_no_border", "ssim_no_border"]
