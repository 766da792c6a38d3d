"""metrics.csv: what a resume keeps, and what a kill or a new column costs."""

import pytest

from pkdn_lightning.train.tracking.csv_log import ResumableCSVLogger, rewrite_rows


@pytest.mark.parametrize(
    "cut",
    ["", "3,0.", "1", "\r\n", "1\r\n", "1,1,0.7\r\n"],
    ids=["whole", "cut in a value", "cut in the step", "empty line", "too short", "two rows in one"],
)
def test_a_resume_drops_what_it_writes_again_and_a_row_that_a_kill_cut_off(tmp_path, cut):
    file = tmp_path / "metrics.csv"
    file.write_bytes(b"step,train/loss\r\n0,1.0\r\n1,0.9\r\n2,0.8\r\n" + cut.encode())
    rewrite_rows(file, before_step=2)
    assert file.read_text().split() == ["step,train/loss", "0,1.0", "1,0.9"]


def test_rows_survive_a_new_logger_and_a_rewrite_that_fails(tmp_path, monkeypatch):
    def log(**metrics: float) -> None:
        logger = ResumableCSVLogger(tmp_path, name="", version="")
        logger.log_metrics(metrics, step=len(metrics))
        logger.save()

    log(b=1.0)
    log(a=2.0, b=3.0)  # a new column: the file is written anew
    before = (tmp_path / "metrics.csv").read_text()
    assert before.split() == ["a,b,step", ",1.0,1", "2.0,3.0,2"]
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        log(c=4.0)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]
    assert (tmp_path / "metrics.csv").read_text() == before
