"""What was trained on the device is evaluated, used and exported there as on a CPU."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.config import compose
from pkdn_lightning.evaluate import evaluate
from pkdn_lightning.export import export
from pkdn_lightning.predict import predict
from pkdn_lightning.train import train
from tests.conftest import real_face

pytestmark = pytest.mark.gpu


@pytest.fixture
def run(small) -> Path:
    return train(small("student", "objective=reconstruction", "test=false")).run.path


def test_evaluate(run, faces, accelerator, tmp_path):
    means = []
    for name in (accelerator, "cpu"):
        places = [f"models.student={run}", f"data.store={faces.path}", "data.name=faces", f"run_dir={tmp_path / name}e"]
        protocols = "protocols=[headline,no_border,rgb,rgb_no_border,float]"
        means.append(evaluate(compose("evaluate", [*places, protocols, f"accelerator={name}"])).means)
        assert (tmp_path / f"{name}e" / "grid_faces.png").is_file()
    for method, expected in means[1].items():
        assert means[0][method] == pytest.approx(expected, abs=2e-3)


def test_predict_and_export(run, accelerator, tmp_path):
    """Restored by the run, its safetensors and its program; values may be one level off."""
    for number in range(2):
        file = tmp_path / "photos" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(real_face(number).hr).resize((8, 8), Image.Resampling.BICUBIC).save(file)
    files = export(
        compose("export", [f"model={run}", f"output={tmp_path / 'exported'}", "formats=[safetensors,pt2]", "faces=4"])
    )
    models = {"run": run, "safetensors": files.folder / "model.safetensors", "pt2": files.folder / "model.pt2"}
    cases = [
        (name, accelerator, precision)
        for name in models
        for precision in ("32", "bf16")
        if (name, precision) != ("pt2", "bf16")
    ]
    for name, where, precision in [("run", "cpu", "32"), *cases]:
        output = tmp_path / f"{name}_{where}_{precision}"
        done = predict(
            compose("predict", [f"model={models[name]}", f"input={tmp_path / 'photos'}", f"output={output}",
                                f"precision={precision}", f"accelerator={where}", "mode=lr", "trust=true"])
        )  # fmt: skip
        assert not done.failed
        for number in range(2):
            found, expected = (
                np.asarray(Image.open(folder / f"{number}.png")).astype(int)
                for folder in (output, tmp_path / "run_cpu_32")
            )
            assert np.abs(found - expected).max() <= (1 if precision == "32" else 8)
