"""LR from HR and back, as Pillow does it with images on disk."""

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.errors import ShapeError


def images(count=3, size_px=64):
    """Returns blocky noise: edges of every height, some flat ground; uint8, (B, H, W, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, size_px // 4, size_px // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def tensor(images):
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255


def pil(images, size_px):
    return [np.asarray(Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BICUBIC)) for image in images]


class TestRoundTrip:
    @pytest.mark.parametrize("scale", [2, 4, 8])
    def test_equals_pillow(self, scale):
        hr = images()
        small = pil(hr, 64 // scale)
        lr = degrade(tensor(hr), scale)
        assert torch.equal(lr, tensor(small))
        assert torch.equal(enlarge(lr, scale), tensor(pil(small, 64)))

    def test_hr_is_taken_as_8bit(self):
        hr = tensor(images())
        assert torch.equal(degrade(hr + 0.4 / 255, 8), degrade(hr, 8))

    def test_modes_differ_at_the_border_only(self):
        difference = (degrade(tensor(images()), 4) - degrade(tensor(images()), 4, "matlab")).abs() * 255
        assert difference[..., 2:-2, 2:-2].max() < 2.5  # levels: the order of passes and of rounding
        assert difference.max() > 2.5

    def test_one_by_one(self):
        hr = tensor(images())
        assert torch.equal(degrade(hr, 8), torch.cat([degrade(image, 8) for image in hr.split(1)]))


@pytest.mark.parametrize("mode", ["pil", "matlab"])
def test_bytes_give_what_floats_give(mode):
    levels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), dtype=np.uint8)).movedim(-1, 1)
    assert torch.equal(degrade(levels, 8, mode), degrade(levels.float() / 255, 8, mode))


class TestErrors:
    @pytest.mark.parametrize("size", [(60, 64), (64, 60)])
    def test_indivisible(self, size):
        with pytest.raises(ShapeError, match=f"{size[0]}x{size[1]}.*scale 8.*divisible by 8"):
            degrade(torch.rand(1, 3, *size), 8)

    def test_no_scale(self):
        with pytest.raises(ShapeError, match="scale 0"):
            degrade(torch.rand(1, 3, 64, 64), 0)
