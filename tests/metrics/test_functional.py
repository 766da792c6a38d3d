"""PSNR and SSIM against the same protocols written in NumPy and SciPy."""

import math

import numpy as np
import pytest
import torch
from kornia.metrics import ssim as kornia_ssim
from scipy.signal import convolve2d

from pkdn_lightning.errors import ShapeError
from pkdn_lightning.functional.colour import luma_bt601_8bit
from pkdn_lightning.metrics import HEADLINE, PROTOCOLS, psnr, psnr_y, quality, ssim, ssim_y
from pkdn_lightning.metrics.functional import _convolved, _summed_taps

REFERENCE = {  # protocol: (on luma, border, rounded)
    "headline": (True, 8, True),
    "no_border": (True, 0, True),
    "rgb": (False, 8, True),
    "rgb_no_border": (False, 0, True),
    "float": (True, 8, False),
}


def reference_levels(image, name):
    """Returns grey levels, (H, W, C), of an image, (3, H, W) in [0, 1]."""
    on_luma, border, rounded = REFERENCE[name]
    levels = np.moveaxis(image.float().numpy(), 0, -1) * np.float32(255)
    if rounded:
        levels = np.round(np.clip(levels, 0, 255))
    levels = levels.astype(np.float64)
    if on_luma:  # 65.481, 128.553 and 24.966 over 255, so that whole levels have exact sums
        levels = (levels @ [21827, 42851, 8322] / 85000 + 16)[..., None]
        levels = np.round(levels) if rounded else levels
    return levels[border : levels.shape[0] - border, border : levels.shape[1] - border]


def reference_psnr(sr, hr):
    return 10 * np.log10(255**2 / np.mean((sr - hr) ** 2))


def reference_ssim(sr, hr):
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def blur(plane):
        return convolve2d(plane, window, mode="valid")

    means = []
    for x, y in zip(np.moveaxis(sr, -1, 0), np.moveaxis(hr, -1, 0), strict=True):
        mx, my = blur(x), blur(y)
        vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        means.append(
            np.mean((2 * mx * my + 6.5025) * (2 * cov + 58.5225) / ((mx**2 + my**2 + 6.5025) * (vx + vy + 58.5225)))
        )
    return np.mean(means)


def unrelated():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 2, 3, 48, 40, generator=generator)


def overshooting():
    sr, hr = unrelated()
    return hr + 0.4 * (sr - 0.5), hr


def near_identical():
    _, hr = unrelated()
    hr = (hr * 255).round() / 255
    sr = hr.clone()
    sr[:, :, 20, 17] = 1 - sr[:, :, 20, 17]  # one pixel per image
    return sr, hr


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("pair", [unrelated, overshooting, near_identical])
class TestAgainstSciPy:
    def test_psnr(self, name, pair):
        sr, hr = pair()
        expected = [
            reference_psnr(reference_levels(a, name), reference_levels(b, name)) for a, b in zip(sr, hr, strict=True)
        ]
        atol = 1e-9 if REFERENCE[name][2] else 2e-6
        np.testing.assert_allclose(psnr(sr, hr, PROTOCOLS[name]).numpy(), expected, rtol=0, atol=atol)

    def test_ssim(self, name, pair):
        sr, hr = pair()
        expected = [
            reference_ssim(reference_levels(a, name), reference_levels(b, name)) for a, b in zip(sr, hr, strict=True)
        ]
        np.testing.assert_allclose(ssim(sr, hr, PROTOCOLS[name]).numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pair", [overshooting, near_identical])
def test_ssim_is_kornias(pair):
    sr, hr = pair()
    levels = [torch.from_numpy(np.stack([reference_levels(image, "rgb") for image in images])) for images in (sr, hr)]
    theirs = kornia_ssim(*(each.movedim(-1, 1) for each in levels), 11, max_val=255.0, eps=0.0, padding="valid")
    torch.testing.assert_close(ssim(sr, hr, PROTOCOLS["rgb"]), theirs.mean((1, 2, 3)), rtol=0, atol=1e-6)


def test_both_ways_to_blur_are_the_same():
    planes = (torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0)) - 0.5) * 255
    torch.testing.assert_close(_convolved(planes), _summed_taps(planes), rtol=0, atol=1e-4)


def test_luma_of_whole_levels_is_exact():
    levels = torch.cartesian_prod(*[torch.arange(0, 256, 5)] * 3)  # with ties: 21827 R + 42851 G + 8322 B + 42500
    exact = levels @ torch.tensor([21827, 42851, 8322])
    below, left = exact // 85000, exact % 85000
    rounded = below + ((left > 42500) | ((left == 42500) & (below % 2 == 1))) + 16
    assert (left == 42500).any()
    found = luma_bt601_8bit(levels.T.float().unsqueeze(-1)).squeeze(-1)
    assert torch.equal(found, rounded.float())


def test_several_protocols_at_once_are_each_alone():
    sr, hr = overshooting()
    sr, hr = sr.repeat(3, 1, 1, 1), hr.repeat(3, 1, 1, 1)  # more than are worked on at a time
    for protocol, both in zip(PROTOCOLS.values(), quality(sr, hr, list(PROTOCOLS.values())), strict=True):
        torch.testing.assert_close(both.psnr, psnr(sr, hr, protocol), rtol=0, atol=1e-12)
        torch.testing.assert_close(both.ssim, ssim(sr, hr, protocol), rtol=0, atol=1e-12)


class TestKnownValues:
    def test_identical(self):
        _, hr = unrelated()
        for protocol in PROTOCOLS.values():
            assert psnr(hr, hr, protocol).tolist() == [math.inf, math.inf]
            assert ssim(hr, hr, protocol).tolist() == [1.0, 1.0]

    def test_white_against_black(self):
        white, black = torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
        assert psnr_y(white, black).item() == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)
        luminance = (2 * 235 * 16 + 6.5025) / (235**2 + 16**2 + 6.5025)  # flat images: no contrast term
        assert ssim_y(white, black).item() == pytest.approx(luminance, abs=1e-5)

    def test_one_level_of_grey(self):
        grey = torch.full((1, 3, 32, 32), 100 / 255)
        assert psnr(grey + 1 / 255, grey, PROTOCOLS["rgb"]).item() == pytest.approx(20 * math.log10(255), abs=1e-9)

    def test_less_than_half_a_level_counts_unrounded_only(self):
        grey = torch.full((1, 3, 32, 32), 100 / 255)
        assert psnr_y(grey + 0.4 / 255, grey).item() == math.inf
        expected = 20 * math.log10(255 / (0.4 * 219 / 255))
        assert psnr(grey + 0.4 / 255, grey, PROTOCOLS["float"]).item() == pytest.approx(expected, abs=1e-3)

    def test_border_is_dropped(self):
        _, hr = unrelated()
        sr = hr.clone()
        sr[..., :4] = 0
        sr[..., -4:, :] = 0
        assert psnr_y(sr, hr, border_px=4).tolist() == [math.inf, math.inf]
        assert psnr_y(sr, hr, border_px=3).isfinite().all()
        assert ssim_y(sr, hr, border_px=4).tolist() == [1.0, 1.0]


class TestContract:
    def test_headline_is_the_default(self):
        sr, hr = unrelated()
        for default, by_border, measure in ((psnr(sr, hr), psnr_y(sr, hr), psnr), (ssim(sr, hr), ssim_y(sr, hr), ssim)):
            assert torch.equal(default, by_border)
            assert torch.equal(default, measure(sr, hr, PROTOCOLS["headline"]))
        assert (HEADLINE.channel, HEADLINE.border_px, HEADLINE.rounded) == ("y", 8, True)

    @pytest.mark.parametrize("measure", [psnr, ssim])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
    def test_one_by_one_in_float64(self, measure, dtype):
        sr, hr = (images.to(dtype) for images in overshooting())
        values = measure(sr, hr)
        assert values.shape == (2,)
        assert values.dtype == torch.float64
        one_by_one = torch.cat([measure(a, b) for a, b in zip(sr.split(1), hr.split(1), strict=True)])
        torch.testing.assert_close(values, one_by_one, rtol=0, atol=1e-10)

    @pytest.mark.parametrize("measure", [psnr, ssim])
    def test_lower_precision_elsewhere_changes_nothing(self, measure):
        sr, hr = unrelated()
        before, precision = measure(sr, hr), torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                mixed = measure(sr, hr)
        finally:
            torch.set_float32_matmul_precision(precision)
        assert torch.equal(mixed, before)

    @pytest.mark.parametrize("measure", [psnr, ssim])
    def test_images_stay_as_they_are(self, measure):
        sr, hr = overshooting()
        kept = sr.clone().requires_grad_(), hr.clone()
        assert not measure(kept[0], kept[1]).requires_grad
        assert torch.equal(kept[0], sr)
        assert torch.equal(kept[1], hr)


@pytest.mark.parametrize("measure", [psnr, ssim, psnr_y, ssim_y, quality])
class TestErrors:
    def test_shapes_differ(self, measure):
        with pytest.raises(ShapeError, match=r"\(2, 3, 32, 32\).*\(1, 3, 32, 32\)"):
            measure(torch.rand(2, 3, 32, 32), torch.rand(1, 3, 32, 32))

    @pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 32, 32)])
    def test_not_a_batch_of_rgb(self, measure, shape):
        with pytest.raises(ShapeError, match="expected the same"):
            measure(torch.rand(shape), torch.rand(shape))

    def test_smallest(self, measure):
        measure(torch.rand(1, 3, 27, 27), torch.rand(1, 3, 27, 27))
        with pytest.raises(ShapeError, match=r"26x27.*border of 8.*11x11 must remain"):
            measure(torch.rand(1, 3, 26, 27), torch.rand(1, 3, 26, 27))
