"""Bicubic resizing against Pillow itself and against MATLAB's `imresize`, written down once more in NumPy."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.colour import luma_bt601, round_8bit
from pkdn_lightning.functional.modes import MODES
from pkdn_lightning.functional.resize import bicubic, bicubic_8bit

SIZES = [  # (height, width) before, after
    ((128, 128), (16, 16)),
    ((16, 16), (128, 128)),
    ((96, 80), (12, 10)),
    ((37, 53), (64, 31)),
    ((48, 30), (20, 25)),
    ((9, 4), (1, 7)),
]


def noise(size):
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)


def waves(size):
    rows, columns = np.mgrid[: size[0], : size[1]]
    channels = [127.5 + 127.5 * np.sin(rows / (5 + k) + columns / (7 - k) + k) for k in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def resized(image, size, mode):
    """Resizes a uint8 image, (H, W, 3), with the function under test."""
    result = bicubic(torch.from_numpy(image).permute(2, 0, 1) / 255, size, mode=mode, round_8bit=True) * 255
    assert (result - result.round()).abs().max() < 1e-4
    return result.round().permute(1, 2, 0).numpy().astype(int)


def matlab_contributions(length, target):
    """MATLAB's `contributions`: for each target pixel, the indices it reads and their weights."""

    def cubic(x):
        x = np.abs(x)
        return (1.5 * x**3 - 2.5 * x**2 + 1) * (x <= 1) + (-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2) * ((x > 1) & (x <= 2))

    scale = target / length
    shrink = min(scale, 1.0)
    width = 4 / shrink
    u = np.arange(1, target + 1) / scale + 0.5 * (1 - 1 / scale)
    indices = np.floor(u - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = shrink * cubic(shrink * (u[:, None] - indices))
    weights /= weights.sum(1, keepdims=True)
    mirror = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    return mirror[np.mod(indices.astype(int) - 1, len(mirror))], weights


def matlab_imresize(image, size):
    """MATLAB's `imresize(image, size)` of a uint8 image: the dimension that shrinks most first."""
    scales = [size[0] / image.shape[0], size[1] / image.shape[1]]
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        indices, weights = matlab_contributions(image.shape[axis], size[axis])
        lines = np.moveaxis(image.astype(float), axis, 0)
        lines = np.einsum("tk,tkwc->twc", weights, lines[indices])
        image = np.clip(np.floor(np.moveaxis(lines, 0, axis) + 0.5), 0, 255).astype(np.uint8)
    return image


def pil_resize(image, size):
    """Pillow's bicubic, horizontal pass first; in one call, Pillow 13 begins vertically where that is cheaper."""
    wide = Image.fromarray(image).resize((size[1], image.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(wide.resize((size[1], size[0]), Image.Resampling.BICUBIC)).astype(int)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("draw", [noise, waves])
class TestEightBit:
    def test_pil(self, draw, before, after):
        assert np.array_equal(resized(draw(before), after, "pil"), pil_resize(draw(before), after))

    def test_pil_in_one_call_where_both_sides_scale_alike(self, draw, before, after):
        if before[0] * after[1] != before[1] * after[0]:
            after = (before[0] * 2, before[1] * 2)
        expected = np.asarray(Image.fromarray(draw(before)).resize(after[::-1], Image.Resampling.BICUBIC))
        assert np.array_equal(resized(draw(before), after, "pil"), expected)

    def test_matlab(self, draw, before, after):
        image = draw(before)
        difference = np.abs(resized(image, after, "matlab") - matlab_imresize(image, after).astype(int))
        assert difference.max() <= 1
        assert (difference == 0).mean() > 0.99


@pytest.mark.parametrize("precision", ["medium", "high"])
def test_products_of_less_precision_change_no_grey_level(precision):
    levels = torch.from_numpy(noise((128, 128))).permute(2, 0, 1)
    exact = bicubic_8bit(levels, (16, 16))
    torch.set_float32_matmul_precision(precision)
    try:
        assert torch.equal(bicubic_8bit(levels, (16, 16)), exact)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(bicubic_8bit(levels, (16, 16)), exact)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("mode", MODES)
class TestFloat:
    @pytest.mark.parametrize(("before", "after"), SIZES)
    def test_is_the_8bit_result_before_rounding(self, mode, before, after):
        images = torch.from_numpy(waves(before)).permute(2, 0, 1) / 255
        difference = bicubic(images, after, mode=mode) - bicubic(images, after, mode=mode, round_8bit=True)
        assert difference.abs().max() < 3.0 / 255  # two roundings, and the clip of the first pass

    @pytest.mark.parametrize(("before", "after"), SIZES)
    def test_constant_stays_constant(self, mode, before, after):
        torch.testing.assert_close(
            bicubic(torch.full((2, *before), 0.3), after, mode=mode), torch.full((2, *after), 0.3)
        )

    def test_same_size_changes_nothing(self, mode):
        images = torch.rand(2, 3, 9, 7)
        assert torch.equal(bicubic(images, (9, 7), mode=mode), images)

    def test_gradient(self, mode):
        images = torch.rand(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda images: bicubic(images, (3, 8), mode=mode), images)

    def test_autocast_changes_nothing(self, mode):
        images = torch.rand(2, 3, 16, 16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = bicubic(images, (128, 128), mode=mode)
        assert torch.equal(mixed, bicubic(images, (128, 128), mode=mode))

    def test_bfloat16_is_rounded_once(self, mode):
        images = torch.rand(2, 3, 16, 16).bfloat16()
        assert torch.equal(
            bicubic(images, (40, 40), mode=mode), bicubic(images.float(), (40, 40), mode=mode).bfloat16()
        )

    def test_weights_made_in_inference_mode_serve_training(self, mode):
        with torch.inference_mode():
            bicubic(torch.rand(1, 11, 13), (5, 6), mode=mode)
        bicubic(torch.rand(1, 11, 13, requires_grad=True), (5, 6), mode=mode).sum().backward()


class Enlarger(torch.nn.Module):
    """Enlarges at both precisions a network might ask for."""

    def forward(self, lr):
        return [bicubic(lr, (40, 40)), *(bicubic(lr, (20, 40), mode=mode, round_8bit=True) for mode in MODES)]


class TestCapture:
    def test_export(self):
        batch = torch.export.Dim("batch")
        program = torch.export.export(Enlarger(), (torch.rand(2, 3, 10, 10),), dynamic_shapes=({0: batch},))
        lr = torch.rand(5, 3, 10, 10)
        for found, expected in zip(program.module()(lr), Enlarger()(lr), strict=True):
            torch.testing.assert_close(found, expected)

    def test_compile(self):
        lr = torch.rand(2, 3, 10, 10)
        compiled = torch.compile(Enlarger(), backend="eager", fullgraph=True)
        for found, expected in zip(compiled(lr), Enlarger()(lr), strict=True):
            torch.testing.assert_close(found, expected)


class TestErrors:
    def test_unknown_mode(self):
        with pytest.raises(ConfigError, match=r"'opencv'.*pil, matlab"):
            bicubic(torch.rand(1, 4, 4), (2, 2), mode="opencv")

    def test_no_pixel(self):
        with pytest.raises(ShapeError, match="at least one"):
            bicubic(torch.rand(1, 4, 4), (2, 0))

    def test_integers(self):
        with pytest.raises(TypeError, match="divide by 255"):
            bicubic(torch.zeros(1, 4, 4, dtype=torch.uint8), (2, 2))


class TestColour:
    def test_round_8bit(self):
        levels = torch.tensor([-3.0, 0.4, 99.6, 127.5, 300.0], dtype=torch.float64)
        expected = torch.tensor([0.0, 0.0, 100.0, 128.0, 255.0], dtype=torch.float64)
        assert torch.equal(round_8bit(levels / 255), expected / 255)

    def test_luma_of_primaries(self):
        primaries = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)  # (B, C, 1, 1)
        expected = torch.tensor([81.481, 144.553, 40.966], dtype=torch.float64)
        torch.testing.assert_close(luma_bt601(primaries).flatten(), expected)
