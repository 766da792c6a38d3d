"""Curves: what is read of a metrics.csv, and how seeds come together."""

import numpy as np

from pkdn_lightning.report.curves import POINTS, Series, over_seeds, read_metrics


class TestReading:
    def test_values_stand_at_the_steps_after_which_they_were_logged(self, tmp_path):
        file = tmp_path / "metrics.csv"
        file.write_text("epoch,step,train/loss/sr,val/psnr_y\n,0,0.5,\n0,2,nan,\n0,2,,21.5\n1,,0.3,\n1,5,0.25,inf\n")
        found = read_metrics(file)
        assert found["train/loss/sr"].steps.tolist() == [1, 6]
        assert found["train/loss/sr"].values.tolist() == [0.5, 0.25]
        assert found["val/psnr_y"].steps.tolist() == [3]

    def test_long_logs_become_means_of_neighbours(self, tmp_path):
        file = tmp_path / "metrics.csv"
        file.write_text("step,loss\n" + "".join(f"{step},{step % 2}\n" for step in range(10 * POINTS)))
        found = read_metrics(file)["loss"]
        assert len(found.steps) == POINTS
        assert np.allclose(found.values, 0.5)
        assert found.steps[0] == 5.5

    def test_no_file_and_no_table_are_no_values(self, tmp_path):
        (tmp_path / "empty").write_text("")
        (tmp_path / "binary").write_bytes(b"\xff\x00\n\x00")
        (tmp_path / "ragged").write_text("step,loss\n1,2,3,4\nx\n")
        assert [read_metrics(tmp_path / name) for name in ("none", "empty", "binary")] == [{}] * 3
        assert read_metrics(tmp_path / "ragged")["loss"].values.tolist() == [2]


class TestSeeds:
    def test_mean_and_range_as_far_as_all_were_trained(self):
        one = Series(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 40.0]))
        other = Series(np.array([1.0, 3.0]), np.array([0.0, 40.0]))
        curve = over_seeds([one, other])
        assert curve.steps.tolist() == [1, 2, 3]
        assert curve.mean.tolist() == [5, 20, 35]
        assert curve.low.tolist() == [0, 20, 30]
        assert curve.high.tolist() == [10, 20, 40]
        assert curve.seeds == 2

    def test_seeds_that_do_not_overlap_do_not_fail(self):
        curve = over_seeds([Series(np.array([5.0, 6.0]), np.ones(2)), Series(np.array([1.0]), np.zeros(1))])
        assert len(curve.steps) == len(curve.mean)
        assert len(curve.steps) >= 1
