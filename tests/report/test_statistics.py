"""Intervals and tests: against SciPy, against exact values, and against what they promise."""

import numpy as np
import pytest
from scipy import stats

from pkdn_lightning.report import statistics
from pkdn_lightning.report.statistics import bootstrap_intervals, holm, paired_test, paired_test_name, sign_flip_test


class TestBootstrap:
    def test_a_large_sample_gives_the_normal_interval(self):
        values = np.random.default_rng(0).normal(27, 2, (500, 1))
        low, high = bootstrap_intervals(values)[0]
        half = 1.96 * values.std() / np.sqrt(500)
        assert low == pytest.approx(values.mean() - half, abs=0.012)
        assert high == pytest.approx(values.mean() + half, abs=0.012)

    def test_it_covers_the_truth_as_often_as_it_says(self):
        generator = np.random.default_rng(1)
        samples = generator.exponential(1.0, (60, 150))  # 150 experiments of 60 images each, true mean 1
        ends = np.array([bootstrap_intervals(samples[:, [k]], seed=k, resamples=500)[0] for k in range(150)])
        covered = ((ends[:, 0] <= 1) & (ends[:, 1] >= 1)).mean()
        assert 0.88 < covered < 0.99

    def test_seeds_decide(self):
        values = np.random.default_rng(2).random((20, 3))
        assert np.array_equal(bootstrap_intervals(values), bootstrap_intervals(values))
        assert not np.array_equal(bootstrap_intervals(values), bootstrap_intervals(values, seed=1))

    def test_columns_are_resampled_alike(self):
        values = np.random.default_rng(3).random((30, 2))
        both = np.hstack([values, values[:, [0]] - values[:, [1]], values[:, [0]]])
        ends = bootstrap_intervals(both)
        assert np.allclose(ends[3], ends[0])
        shifted = np.stack([values[:, 0], values[:, 0] + 0.5, np.full(30, 0.5)], axis=1)
        assert np.allclose(bootstrap_intervals(shifted)[2], 0.5)  # a constant difference has no spread

    def test_memory_bounds_do_not_change_the_result(self, monkeypatch):
        values = np.random.default_rng(4).random((50, 2))
        whole = bootstrap_intervals(values)
        monkeypatch.setattr(statistics, "_BLOCK", 50 * 7)
        assert np.allclose(bootstrap_intervals(values), whole)


class TestPairedTests:
    def test_wilcoxon_is_scipys(self):
        differences = np.random.default_rng(0).normal(0.1, 1, 100)
        assert paired_test_name() == "Wilcoxon signed-rank test"
        assert paired_test(differences) == stats.wilcoxon(differences).pvalue

    def test_no_difference_is_no_evidence(self):
        assert paired_test(np.zeros(9)) == 1.0
        assert sign_flip_test(np.zeros(9)) == 1.0

    def test_few_images_are_exact(self):
        assert sign_flip_test(np.ones(5)) == 2 / 32  # all signs alike, either way
        differences = np.array([0.3, 0.5, -0.1, 0.9, 0.2, 0.4])
        exact = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
        )
        assert sign_flip_test(differences) == pytest.approx(exact.pvalue)

    def test_many_images_agree_with_the_t_test(self):
        differences = np.random.default_rng(5).normal(0.15, 1, 200)
        assert sign_flip_test(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.015)
        assert sign_flip_test(np.ones(100)) == 1 / 10_001

    def test_without_scipy_signs_are_flipped(self, monkeypatch):
        monkeypatch.setattr(statistics, "_wilcoxon", lambda: None)
        assert paired_test_name() == "paired sign-flip permutation test"
        assert paired_test(np.ones(5)) == 2 / 32


def test_holm_on_known_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]  # 2 x 0.8 is no probability, and the order is kept
    assert holm([]) == []
