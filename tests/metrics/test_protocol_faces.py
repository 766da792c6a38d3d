"""The headline protocol end to end on real faces: images from disk, degraded, enlarged, measured.

Set PKDN_FACES to a folder that holds `celeba/test/images` and `helen/test/images`: aligned faces of 128x128 pixels.
The expected values belong to one selection of 500 and 25 images, recognised by its count.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.metrics import psnr_y, ssim_y

FACES = os.environ.get("PKDN_FACES")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(FACES is None, reason="PKDN_FACES names no folder of faces")]


@pytest.mark.parametrize(
    ("dataset", "count", "expected_psnr", "expected_ssim"),
    [("celeba", 500, 23.416, 0.6196), ("helen", 25, 23.996, 0.6683)],
)
def test_bicubic_row(dataset, count, expected_psnr, expected_ssim):
    files = sorted(Path(FACES, dataset, "test", "images").glob("*"))
    if len(files) != count:
        pytest.skip(f"{dataset}: {len(files)} images, the expected values belong to {count}")
    values = []
    for start in range(0, count, 50):
        images = [Image.open(file).convert("RGB") for file in files[start : start + 50]]
        small = [image.resize((16, 16), Image.Resampling.BICUBIC) for image in images]
        large = [image.resize((128, 128), Image.Resampling.BICUBIC) for image in small]
        hr, lr, sr = (
            torch.from_numpy(np.stack([np.asarray(image) for image in some])).permute(0, 3, 1, 2) / 255
            for some in (images, small, large)
        )
        assert torch.equal(degrade(hr, 8), lr)
        assert torch.equal(enlarge(lr, 8), sr)
        values.append(torch.stack([psnr_y(sr, hr), ssim_y(sr, hr)]))
    mean_psnr, mean_ssim = torch.cat(values, dim=1).mean(1).tolist()
    assert mean_psnr == pytest.approx(expected_psnr, abs=6e-4)
    assert mean_ssim == pytest.approx(expected_ssim, abs=6e-5)
