"""Intervals and tests: values that SciPy publishes, and the promises of the intervals."""

import numpy as np
import pytest

from pkdn_lightning.report import statistics
from pkdn_lightning.report.statistics import bootstrap_intervals, holm, paired_test


class TestBootstrap:
    def test_a_large_sample_gives_the_normal_interval(self):
        values = np.random.default_rng(0).normal(27, 2, (500, 1))
        half = 1.96 * values.std() / np.sqrt(500)
        assert bootstrap_intervals(values)[0] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.012)

    def test_it_covers_the_true_mean_as_often_as_it_says(self, monkeypatch):
        monkeypatch.setattr(statistics, "RESAMPLES", 500)
        samples = np.random.default_rng(1).exponential(1.0, (60, 150))  # 150 experiments of 60 images each, mean 1
        low, high = bootstrap_intervals(samples).T
        assert 0.88 < ((low <= 1) & (high >= 1)).mean() < 0.99

    def test_columns_are_resampled_alike_by_a_seed(self, monkeypatch):
        values = np.random.default_rng(3).random((30, 2))
        both = np.hstack([values, values[:, [0]], values[:, [0]] + 0.5])
        ends = bootstrap_intervals(both)
        assert np.allclose(ends[2], ends[0])
        assert np.allclose(ends[3], ends[0] + 0.5)
        assert not np.array_equal(bootstrap_intervals(both, seed=1), ends)
        monkeypatch.setattr(statistics, "_NUMBERS", 30 * 7)  # less memory, same values
        assert np.allclose(bootstrap_intervals(both), ends)

    def test_one_image_and_a_diverged_network_have_no_interval_but_no_error(self):
        assert bootstrap_intervals(np.array([[2.0, 3.0]])).tolist() == [[2, 2], [3, 3]]
        assert np.isnan(bootstrap_intervals(np.full((4, 1), np.nan))).all()


def test_the_paired_test_is_wilcoxons():
    # The example of scipy.stats.wilcoxon: Darwin's cross- and self-fertilised corn, statistic 24, p = 0.0413.
    heights = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75.0])
    assert paired_test(heights) == pytest.approx(0.041259765625)
    assert paired_test(np.ones(5)) == 2 / 32  # all signs alike, either way
    assert paired_test(np.zeros(9)) == 1.0


def test_holm_on_known_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]  # 2 x 0.8 is no probability, and the order is kept
    assert holm([]) == []
