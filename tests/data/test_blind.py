"""Blind degradation: each effect alone, repeatable draws, and pictures that do not depend on how faces are batched."""

import io
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from pkdn_lightning.data.batches import ShuffledBatchSampler
from pkdn_lightning.data.blind import make_blind
from pkdn_lightning.data.datamodule import FaceSRDataModule
from pkdn_lightning.data.degradation import degrade
from pkdn_lightning.data.strengths import ROUNDS, Strengths
from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.export.comparison import check_faces
from pkdn_lightning.functional.jpeg import jpeg
from pkdn_lightning.models.runtimes import Restorer
from tests.conftest import real_face

NOTHING = Strengths(blur_probability=0, resampling_probability=0, noise_probability=0, jpeg_probability=0)


def faces(count=4):
    return torch.from_numpy(np.stack([real_face(number).hr for number in range(count)])).permute(0, 3, 1, 2)


def degraded(hr, strengths, *, mode="blind", scale=8, seed=0):
    blind = make_blind(mode, asdict(strengths), scale, hr.shape[-1])
    drawn = blind.draw(len(hr), np.random.default_rng(seed))
    return degrade(hr, scale, mode, {name: torch.from_numpy(array) for name, array in drawn.items()})


def roughness(lr):
    return (lr.diff(dim=-1).square().mean() + lr.diff(dim=-2).square().mean()).item()


def test_without_any_effect_it_is_bicubic():
    assert torch.equal(degraded(faces(), NOTHING), degrade(faces(), 8))
    in_two_steps = degrade((degrade(faces(), 4)), 2)
    assert torch.equal(degraded(faces(), NOTHING, mode="blind2"), in_two_steps)


@pytest.mark.parametrize("kind", [{}, {"anisotropic": 1.0, "motion": 0.0}, {"anisotropic": 0.0, "motion": 1.0}])
def test_blur_takes_detail(kind):
    weak = replace(NOTHING, blur_probability=1, sigma=[0.1, 0.1], motion_length=[0.2, 0.2], **kind)
    strong = replace(NOTHING, blur_probability=1, sigma=[0.6, 0.6], motion_length=[2, 2], **kind)
    sharp, weakly, strongly = (roughness(degraded(faces(), each)) for each in (NOTHING, weak, strong))
    assert strongly < 0.8 * weakly < 0.85 * sharp


@pytest.mark.parametrize("poisson", [0, 1])
def test_noise_has_its_level(poisson):
    hr = torch.full((64, 3, 128, 128), 64, dtype=torch.uint8)
    noisy = degraded(hr, replace(NOTHING, noise_probability=1, noise=[8, 8], poisson=poisson, grey=0)) * 255 - 64
    assert noisy.std().item() == pytest.approx(8 * (64 / 255) ** 0.5 if poisson else 8, rel=0.05)


def test_grey_noise_has_no_colour():
    hr = torch.full((1, 3, 128, 128), 128, dtype=torch.uint8)
    noisy = degraded(hr, replace(NOTHING, noise_probability=1, noise=[8, 8], poisson=0, grey=1))
    assert torch.equal(noisy[:, 0], noisy[:, 2])


@pytest.mark.parametrize("size_px", [16, 37])
@pytest.mark.parametrize("quality", [10, 40, 75, 95])
def test_jpeg_equals_pillow_up_to_ties(size_px, quality):
    whole = degrade(faces(), 8) if size_px == 16 else faces()[..., 40:77, 40:77] / 255
    levels, expected = (whole * 255).round(), []
    for image in levels.byte().permute(0, 2, 3, 1).numpy():
        Image.fromarray(image).save(file := io.BytesIO(), "JPEG", quality=quality)
        expected.append(np.asarray(Image.open(file)))
    pillow = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2).float()
    ours = jpeg(levels, torch.full((4,), float(quality)))
    assert (ours - pillow).abs().mean() < min(0.8, (pillow - levels).abs().mean() / 3)


@pytest.mark.parametrize("mode", ROUNDS)
def test_one_face_at_a_time(mode):
    blind = make_blind(mode, {"kernel_px": 15}, 8, 128)
    drawn = {name: torch.from_numpy(array) for name, array in blind.draw_fixed(np.arange(4)).items()}
    together = degrade(faces(), 8, mode, drawn)
    alone = [degrade(face, 8, mode, {name: array[n : n + 1] for name, array in drawn.items()})
             for n, face in enumerate(faces().split(1))]  # fmt: skip
    assert torch.equal(together, torch.cat(alone))
    assert all(np.array_equal(blind.draw_fixed(np.array([2]))[name][0], drawn[name][2]) for name in drawn)


def test_plans_resume_and_differ_between_processes():
    rows, blind = np.arange(24), make_blind("blind2", {"kernel_px": 7}, 4, 32)
    whole, resumed, other, seeded = (
        [plan.drawn for plan in ShuffledBatchSampler(rows, 4, blind=blind, seed=seed, batches_seen=lambda n=seen: n,
                                                     rank=rank, world_size=2)]
        for seen, rank, seed in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    )  # fmt: skip
    assert all(np.array_equal(whole[1][name], resumed[0][name]) for name in whole[1])
    assert not any(np.array_equal(whole[0]["noise_1"], each[0]["noise_1"]) for each in (other, seeded))


def test_evaluation_does_not_depend_on_batches_workers_or_the_seed(store):
    def pictures(loader, **options):
        data = FaceSRDataModule(
            store.path, scale=4, batch_size=4, degradation="blind2", blind={"kernel_px": 15}, **options
        )
        batches = getattr(data, f"{loader}_dataloader")()
        return [data.on_after_batch_transfer(batch, 0)["lr"] for batch in (batches[0] if loader == "test" else batches)]

    for loader in ("val", "test"):
        one, other = pictures(loader, eval_batch_size=1), pictures(loader, eval_batch_size=2, seed=7, num_workers=1)
        assert torch.equal(torch.cat(one), torch.cat(other))
    assert all(map(torch.equal, pictures("train"), pictures("train", num_workers=1, resident=True)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jpeg_quality": [0, 50]}, r"data\.blind\.jpeg_quality=\[0, 50\]: expected .*each 1 to 100"),
        ({"sigma": [0.5, 0.1]}, r"data\.blind\.sigma.*smallest, largest"),
        ({"kernel_px": 20}, r"data\.blind\.kernel_px=20: expected .*odd"),
        ({"noise_probability": 1.5}, r"data\.blind\.noise_probability=1.5"),
        ({"sgma": [1, 2]}, r"data\.blind\.sgma is no strength. Did you mean 'sigma'"),
        ({"anisotropic": 0.8, "motion": 0.4}, "sum of 1 or less"),
    ],
)
def test_strengths_out_of_range(values, message):
    with pytest.raises(ConfigError, match=message):
        Strengths.of(values)


def test_a_kernel_larger_than_the_picture():
    with pytest.raises(
        ConfigError, match=r"kernel_px=21 is larger than the picture of 16 px .* data\.blind\.kernel_px=15"
    ):
        make_blind("blind2", {}, 4, 32)


def test_a_scale_that_does_not_divide_the_face(store):
    with pytest.raises(ConfigError, match="scale=5, which does not divide"):
        _ = FaceSRDataModule(store.path, scale=5, degradation="blind").store
    with pytest.raises(ShapeError, match="scale 5"):
        degraded(faces(), NOTHING, scale=5)


def test_what_is_random_has_to_be_drawn():
    with pytest.raises(ConfigError, match="'blind' is random"):
        degrade(faces(), 8, "blind")


def test_an_export_is_compared_on_what_the_model_was_trained_for():
    card = {"scale": 8, "degradation": "blind", "blind": {"noise": [3.0, 3.0]}}
    clean, blind, again = (
        check_faces(None, "test", 2, Restorer(None, {**card, "degradation": mode}, None, "", "torch"))
        for mode in ("pil", "blind", "blind")
    )
    assert torch.equal(blind.lr, again.lr)
    assert torch.equal(clean.hr, blind.hr)
    assert not torch.equal(clean.lr, blind.lr)
