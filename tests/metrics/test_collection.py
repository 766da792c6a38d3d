"""Means over images: uneven batches, several processes, half precision."""

import math
import pickle

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.metrics import PROTOCOLS, MeanOverImages, face_sr_metrics, psnr, psnr_y, ssim_y


def pairs(count=7):
    """Returns pairs of very different quality, so that a mean of batch means would show."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(count, 3, 32, 32, generator=generator)
    noise = torch.rand(hr.shape, generator=generator) - 0.5
    return hr + noise * torch.logspace(-2, 0, count).view(-1, 1, 1, 1), hr


def feed(metrics, sr, hr, batch_size):
    for batch in zip(sr.split(batch_size), hr.split(batch_size), strict=True):
        metrics.update(*batch)


class TestFaceSRMetrics:
    @pytest.mark.parametrize("batch_size", [1, 3, 7])  # 3: the last batch holds one image
    def test_is_the_mean_over_images(self, batch_size):
        sr, hr = pairs()
        metrics = face_sr_metrics()
        feed(metrics, sr, hr, batch_size)
        values = metrics.compute()
        assert values["psnr_y"].item() == pytest.approx(psnr_y(sr, hr).mean().item(), abs=1e-9)
        assert values["ssim_y"].item() == pytest.approx(ssim_y(sr, hr).mean().item(), abs=1e-9)

    def test_reset(self):
        sr, hr = pairs()
        metrics = face_sr_metrics()
        feed(metrics, hr, hr, 3)
        metrics.reset()
        feed(metrics, sr, hr, 3)
        assert metrics.compute()["psnr_y"].item() == pytest.approx(psnr_y(sr, hr).mean().item(), abs=1e-9)

    @pytest.mark.parametrize("name", PROTOCOLS)
    def test_keys_name_the_protocol(self, name):
        suffix = "y" if name == "headline" else name
        metrics = face_sr_metrics(name)
        assert set(metrics) == {f"psnr_{suffix}", f"ssim_{suffix}"}
        sr, hr = pairs()
        expected = psnr(sr, hr, PROTOCOLS[name]).mean().item()
        assert metrics(sr, hr)[f"psnr_{suffix}"].item() == pytest.approx(expected, abs=1e-9)

    def test_unknown_protocol(self):
        with pytest.raises(ConfigError, match=r"'headlin'\. Did you mean 'headline'"):
            face_sr_metrics("headlin")

    def test_equal_first_batches_do_not_join_two_metrics(self):
        sr, hr = pairs()
        metrics = face_sr_metrics()
        metrics.add_metrics(
            {"psnr_again": MeanOverImages(psnr), "ones": MeanOverImages(lambda sr, _: sr.new_ones(len(sr)))}
        )
        metrics.update(hr, hr)  # SSIM is 1: the sums of `ssim_y` and `ones` agree
        metrics.update(sr, hr)
        values = metrics.compute()
        assert values["ones"] == 1
        assert values["ssim_y"] < 1


class TestMeanOverImages:
    def test_infinity_is_not_hidden(self):
        sr, hr = pairs(2)
        metric = MeanOverImages(psnr)
        metric.update(torch.cat([sr, hr]), torch.cat([hr, hr]))
        assert metric.compute().item() == math.inf

    def test_pickles(self):
        metrics = face_sr_metrics("rgb")
        feed(metrics, *pairs(), 3)
        assert pickle.loads(pickle.dumps(metrics)).compute() == metrics.compute()

    @pytest.mark.parametrize(
        "cast",
        [
            lambda module: module.half(),
            lambda module: module.bfloat16(),
            lambda module: module.float(),
            lambda module: module.to(torch.bfloat16),  # Lightning's precision="bf16-true"
            lambda module: module.to("cpu", torch.float16),
        ],
        ids=["half", "bfloat16", "float", "to-bfloat16", "to-device-float16"],
    )
    def test_casting_the_owner_costs_no_precision(self, cast):
        sr, hr = pairs()
        owner = torch.nn.ModuleDict({"net": torch.nn.Linear(1, 1), "metrics": face_sr_metrics()})
        cast(owner)
        feed(owner["metrics"], sr, hr, 3)
        value = owner["metrics"].compute()["psnr_y"]
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(psnr_y(sr, hr).mean().item(), abs=1e-9)
        owner["metrics"].reset()
        assert owner["metrics"]["psnr_y"].total.dtype == torch.float64

    def test_bfloat16_images_are_widened(self):
        sr, hr = (images.bfloat16() for images in pairs())
        metric = MeanOverImages(psnr)
        metric.update(sr, hr)
        assert metric.compute().item() == pytest.approx(psnr(sr.double(), hr.double()).mean().item(), abs=1e-9)

    def test_moves_to_another_device(self):
        moved = MeanOverImages(psnr).to("meta")
        assert (moved.total.device.type, moved.total.dtype) == ("meta", torch.float64)
        assert (moved.images.device.type, moved.images.dtype) == ("meta", torch.int64)


def _process(rank, address, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    sr, hr = pairs()
    mine = slice(0, 5) if rank == 0 else slice(5, 7)
    metrics = face_sr_metrics()
    feed(metrics, sr[mine], hr[mine], 2)
    results[rank] = metrics.compute()["psnr_y"].item()
    dist.destroy_process_group()


class TestSeveralProcesses:
    def test_merged_states_give_the_mean_over_images(self):
        sr, hr = pairs()
        first, second = MeanOverImages(psnr), MeanOverImages(psnr)
        feed(first, sr[:5], hr[:5], 2)
        feed(second, sr[5:], hr[5:], 2)
        first.merge_state(second)
        assert first.compute().item() == pytest.approx(psnr(sr, hr).mean().item(), abs=1e-9)

    @pytest.mark.slow
    def test_two_processes_agree_on_the_mean_over_images(self, tmp_path):
        results = mp.Manager().dict()
        mp.spawn(_process, args=(f"file://{tmp_path}/rendezvous", results), nprocs=2)
        sr, hr = pairs()
        expected = psnr(sr, hr).mean().item()
        assert list(results.values()) == pytest.approx([expected, expected], abs=1e-9)
