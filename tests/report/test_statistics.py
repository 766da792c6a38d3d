"""Intervals and tests: values that SciPy publishes, and the promises of the intervals."""

import numpy as np
import pytest
from scipy import stats

from pkdn_lightning.report import statistics
from pkdn_lightning.report.statistics import bootstrap_intervals, crossed_interval, holm, paired_test


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


class TestCrossed:
    @pytest.mark.parametrize("seeds", [3, 5])
    @pytest.mark.parametrize("spread", [(0.1, 0.02), (0.02, 0.3), (0.05, 0.2), (0.0, 0.2)])
    def test_it_covers_the_true_difference_as_often_as_it_says(self, seeds, spread):
        rng, (of_seeds, of_faces), faces, experiments = np.random.default_rng(2), spread, 60, 500
        hits = 0
        for _ in range(experiments):
            values = rng.normal(0.1, 0.2, (seeds, faces))
            values += rng.normal(0, of_seeds, (seeds, 1)) + of_faces * (rng.exponential(1, faces) - 1)
            low, high = crossed_interval(values)
            hits += low <= 0.1 <= high
        assert 0.90 < hits / experiments < 0.99

    def test_faces_alone_are_not_enough(self, monkeypatch):
        monkeypatch.setattr(statistics, "RESAMPLES", 500)
        rng = np.random.default_rng(4)
        values = 0.1 + rng.normal(0, 0.1, (3, 1)) + rng.normal(0, 0.05, (3, 60))
        (over_faces,), (low, high) = bootstrap_intervals(values.mean(0)[:, None]), crossed_interval(values)
        assert high - low > 5 * (over_faces[1] - over_faces[0])

    def test_known_values(self):
        # By hand: MS_seeds 8, MS_faces 2, MS_residual 0; variance (8 + 2) / 4, degrees of freedom (10 / 8)^2.
        low, high = crossed_interval(np.array([[0.0, np.sqrt(2)], [2 * np.sqrt(2), 3 * np.sqrt(2)]]))
        half = stats.t.ppf(0.975, 1.5625) * np.sqrt(2.5)
        assert (low, high) == pytest.approx((1.5 * np.sqrt(2) - half, 1.5 * np.sqrt(2) + half))

    def test_equal_seeds_leave_the_faces_and_a_constant_leaves_nothing(self):
        values = np.repeat(np.random.default_rng(5).normal(0.1, 1, (1, 500)), 3, axis=0)
        half = 1.96 * values[0].std(ddof=1) / np.sqrt(500)
        assert crossed_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-4)
        assert crossed_interval(np.full((2, 9), 0.5)) == (0.5, 0.5)
        assert all(map(np.isnan, crossed_interval(np.full((2, 9), np.nan))))


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
