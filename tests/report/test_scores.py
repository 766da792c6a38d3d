"""Differences between rows: which seeds are paired, and what is left out where there are too few."""

import numpy as np
import pytest

from pkdn_lightning.report.measurements import Faces
from pkdn_lightning.report.scores import compare, to_record
from pkdn_lightning.report.statistics import crossed_interval
from pkdn_lightning.report.table1 import gain_cells

RNG = np.random.default_rng(0)
OF_SEED = {seed: RNG.normal(27, 1, 20) for seed in range(4)}


def scores(plain: dict[int, float], pkdn: dict[int, float]):
    """Returns how rows compare whose networks of a seed differ by the given gains."""
    trained = {"plain": tuple(plain), "PKDN": tuple(pkdn), "bicubic": ()}
    values = {
        label: [OF_SEED[seed] + gain for seed, gain in gains.items()]
        for label, gains in (("plain", plain), ("PKDN", pkdn))
    } | {"bicubic": [np.full(20, 24.0)]}
    names = tuple(map(str, range(20)))
    measured = {label: {"set": [Faces(names, each, each / 40) for each in rows]} for label, rows in values.items()}
    return compare(measured, "PKDN", "set", trained)


def test_networks_of_one_seed_are_compared():
    gain = scores({3: 0.1, 1: 0.0, 0: 0.2}, {0: 0.1, 1: 0.1, 2: 0.5})["plain"].psnr_gain
    expected = crossed_interval(np.array([[0.1] * 20, [-0.1] * 20]))  # of the seeds 0 and 1
    assert (gain.seeds_faces_low, gain.seeds_faces_high) == pytest.approx(expected)
    assert gain.common_seeds == 2
    assert gain.mean == pytest.approx(0.0)  # the third seed of each, which the other has not, is left out
    assert gain.low == pytest.approx(gain.high)  # no face differs from another
    record = to_record("psnr_gain", gain)
    assert record["psnr_gain_seeds_faces_low"] == pytest.approx(expected[0])
    assert record["psnr_gain_common_seeds"] == 2
    assert gain_cells(gain)[2].text == f"−{-expected[0]:.3f} to +{expected[1]:.3f}"


@pytest.mark.parametrize(("label", "plain"), [("plain", {0: 0.1}), ("plain", {2: 0.1, 3: 0.2}), ("bicubic", {0: 0.1})])
def test_fewer_than_two_common_seeds_have_no_interval(label, plain):
    gain = scores(plain, {0: 0.0, 1: 0.0})[label].psnr_gain
    assert gain.seeds_faces_low is gain.seeds_faces_high is None
    assert (gain_cells(gain)[2].text, to_record("gain", gain)["gain_seeds_faces_low"]) == ("–", None)
