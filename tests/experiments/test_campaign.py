"""The campaign on a GPU host: its plan and its results with pretended trainings; as a whole and killed, slowly."""

import csv
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pkdn_lightning.config import conf_dir
from pkdn_lightning.data.store import FaceStore, verify_store
from pkdn_lightning.errors import ConfigError, DataError
from tests.conftest import real_face

FOLDER = conf_dir().parent / "experiments"
pytestmark = pytest.mark.skipif(not (FOLDER / "campaign.py").is_file(), reason="experiments/ lies in a checkout only")
SPLITS = {"celeba": ("train", "val", "test"), "celebamask_hq": ("test",), "helen": ("test",)}


@pytest.fixture
def script(monkeypatch):
    """Returns a function that imports one of the scripts."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in ("campaign", "processes", "trainings", "packed_faces", "timing"):
            del sys.modules[name]


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


# Faces


@pytest.fixture
def faces(tmp_path):
    """A folder of sets with three faces per split."""
    for name, splits in SPLITS.items():
        for split in splits:
            for number in range(3):
                face = real_face(number)
                for kind, image, suffix in (("images", face.hr, "jpg"), ("parsing", face.parsing, "png")):
                    file = tmp_path / "faces" / name / split / kind / f"{number}.{suffix}"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(file)
    return tmp_path / "faces"


def test_packed_faces_become_stores(script, faces, tmp_path):
    packed_faces, file = script("packed_faces"), tmp_path / "faces.tar.xz"
    assert packed_faces.pack(faces, file, train=2)["celeba/train"] == 2
    stores = packed_faces.make_stores(file, tmp_path / "stores", 2)
    assert list(stores) == [*SPLITS, "portraits"]
    assert verify_store(stores["celeba"])["splits"] == {"train": 2, "val": 3, "test": 3}
    store = FaceStore.open(stores["celebamask_hq"])
    for row, entry in enumerate(store.entries):
        place = faces / "celebamask_hq" / entry.split
        assert np.array_equal(store.hr[row], np.asarray(Image.open(place / "images" / f"{entry.name}.jpg")))
        assert np.array_equal(store.parsing[row], np.asarray(Image.open(place / "parsing" / f"{entry.name}.png")))
    assert packed_faces.make_stores(file, tmp_path / "stores", 2) == stores  # which are there already


def test_a_face_without_a_map_is_named(script, faces, tmp_path):
    (faces / "helen/test/parsing/1.png").unlink()
    with pytest.raises(DataError, match=r"helen/test/parsing/1\.png is missing"):
        script("packed_faces").pack(faces, tmp_path / "faces.tar.xz")
    assert not (tmp_path / "faces.tar.xz").exists()


def test_a_packed_file_that_was_cut_off_is_refused(script, faces, tmp_path):
    packed_faces, file = script("packed_faces"), tmp_path / "faces.tar.xz"
    packed_faces.pack(faces, file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"faces\.tar\.xz is no file of packed faces, or is damaged"):
        packed_faces.make_stores(file, tmp_path / "stores", 2)


# Options


def test_options_are_read_before_torch_is_imported():
    code = "import sys, campaign; sys.exit('torch' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])}
    assert subprocess.run([sys.executable, "-c", code], env=environ, check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("train --device cpu --seconds -5", "-5 is no positive number of seconds"),
        ("train --device cpu --seconds nan", "nan is no positive number of seconds"),
        ("train --device cpu --faces missing.tar.xz", "missing.tar.xz: there is no such file"),
        ("train --device cpu --faces text.tar.xz", "text.tar.xz is no file of packed faces"),
        ("check --device cuda", "There is no CUDA device here"),
        ("train --device cuda", "There is no CUDA device here"),
        ("pack nowhere faces.tar.xz", "nowhere/celeba/train: no images there"),
    ],
)
def test_wrong_options_are_refused_in_a_line(script, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("text.tar.xz").write_text("no archive")
    verb, *rest = options.split()
    with pytest.raises(SystemExit) as refused:
        script("campaign").main([verb, *rest] if verb == "pack" else [verb, "--out", "out", *rest])
    last = str(refused.value.code) if refused.value.code != 2 else capsys.readouterr().err.splitlines()[-1]
    assert message in last
    assert "\n" not in last
    assert not Path("out").exists()


def test_a_work_folder_belongs_to_the_options_of_its_results(script, tmp_path):
    processes, parse = script("processes"), script("campaign").parser().parse_args
    faces = tmp_path / "faces.tar.xz"
    faces.write_text("some")
    line = ["train", "--out", str(tmp_path / "out"), "--device", "cpu"]
    work, packed = ["--work", str(tmp_path / "work")], ["--faces", str(faces)]
    own = [*line, *work, *packed]
    processes.Campaign(parse(own))
    assert processes.work_folder(parse([*own, "--seconds", "9"])) == tmp_path / "work"
    for other, found in (
        ([*own, "--tiny"], "of other options: tiny false, now true. Name another folder with --work"),
        ([*own, "--device", "cuda"], 'device "cpu", now "cuda"'),
        ([*line, *work], 'faces "faces.tar.xz'),
        ([*own, "--", "optimizer.lr=1e-3"], 'overrides [], now ["optimizer.lr=1e-3"]'),
    ):
        with pytest.raises(ConfigError, match=re.escape(found)):
            processes.Campaign(parse(other))
    default = processes.work_folder(parse(line))
    assert default == processes.work_folder(parse(line)) != processes.work_folder(parse([*line, "--tiny"]))
    faces.write_text("other")
    with pytest.raises(ConfigError, match="faces"):
        processes.Campaign(parse(own))
    (tmp_path / "old/runs").mkdir(parents=True)
    with pytest.raises(ConfigError, match="whose options are not recorded"):
        processes.Campaign(parse([*line, "--work", str(tmp_path / "old")]))


# Plan and results

RATES = {"teacher": 20.0, "plain": 25.0, "distilled": 40.0}


class Pretended:
    """Writes what a training or an evaluation would leave, at once; run folders in `failing` stay empty."""

    def __init__(self, rates, failing, cut_off, start):
        self.rates, self.failing, self.cut_off, self.start, self.commands = rates, failing, cut_off, start, []

    def __call__(self, campaign, name, *command):
        self.commands.append(" ".join(map(str, command)))
        line = self.commands[-1]
        folder = Path(re.search(r"(?:run_dir|resume)=(\S+)", line)[1])
        if folder.name in self.failing:
            return self.start(campaign, name, "-c", "print('no such key'); exit(1)")
        if folder.name in self.cut_off and "evaluate" in line:
            return self.start(campaign, name, "-c", "import time; time.sleep(60)")
        folder.mkdir(parents=True, exist_ok=True)
        if "evaluate" in line:
            self.evaluated(folder, ["bicubic", *re.findall(r"models\.(\w+)=", line)])
        else:
            self.trained(folder)
            (folder / "checkpoints").mkdir(exist_ok=True)
            (folder / "checkpoints/best.ckpt").touch()
        return subprocess.Popen(["true"])

    def trained(self, folder):
        name = folder.name.removeprefix("pace_")
        if rate := self.rates.get(name):
            steps = "".join(f"{step},{step / rate},{25 + step / 100}\n" for step in (10, 20, 30))
            (folder / "metrics.csv").write_text(f"step,train/wall_s,val/psnr_y\n{steps}")
        results = {"params": 7, "steps": 90, "wall_s": 1.0, "status": "finished"}
        if name in self.cut_off:  # as an interrupted run leaves it
            results = {"params": 7, "status": "interrupted"}
        (folder / "results.json").write_text(json.dumps(results))

    def evaluated(self, folder, methods):
        with (folder / "per_image.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["set", "method", "face", "psnr_y", "ssim_y"])
            for number, method in enumerate(methods):
                writer.writerows(["portraits", method, face, 25 + number + face / 9, 0.7] for face in range(9))
        (folder / "grid_portraits.png").write_bytes(b"png")


@pytest.fixture
def pretended(script, tmp_path, monkeypatch):
    """Returns a function that runs `train` with pretended processes, and its results and commands."""
    campaign, start = script("campaign"), script("processes").Campaign.start
    monkeypatch.setattr(script("trainings"), "keep", lambda *_: None)

    def run(seconds, rates=RATES, failing=(), cut_off=(), ends=""):
        pretends = Pretended(rates, failing, cut_off, start)
        monkeypatch.setattr(campaign.Campaign, "start", lambda self, *command: pretends(self, *command))
        monkeypatch.setattr(script("packed_faces"), "make_stores", lambda *_: {"portraits": tmp_path / "store"})
        places = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--device", "cpu"]
        with pytest.raises(SystemExit, match=ends) if ends else nullcontext():
            campaign.main(["train", *places, "--seconds", str(seconds), "--", "model.width=32"])
        return rows(tmp_path / "out"), pretends.commands

    return run


def test_the_lengths_fill_the_time(pretended):
    found, commands = pretended(570)
    plan = next(row for row in found if row["stage"] == "plan")
    assert plan["plain"] == plan["distilled"]
    together_s = plan["plain"] / RATES["plain"]
    assert plan["teacher"] / RATES["teacher"] == pytest.approx(together_s, rel=0.01)
    assert 400 < together_s + 0.9 * plan["distilled"] / RATES["distilled"] < 570 - 20 - 50
    assert all("model.width=32" in line for line in commands if "pkdn_lightning.train" in line)
    assert sum(f"trainer.max_steps={plan['plain']}" in line for line in commands) == 2
    evaluated = {row["what"]: row for row in found if row["stage"] == "evaluated"}
    assert evaluated["distilled - plain portraits psnr_y"]["value"] == 1
    assert evaluated["bicubic portraits psnr_y"]["low"] < 25.45 < evaluated["bicubic portraits psnr_y"]["high"]
    assert found[-1]["files"] == ["grid_portraits.png", "logs", "rows.jsonl", "runs.tar.gz"]
    assert evaluated["plain portraits psnr_y"]["steps"] == 90


def test_without_a_pace_it_guesses_and_finished_parts_are_left(pretended):
    found, commands = pretended(300, rates={})
    plan = next(row for row in found if row["stage"] == "plan")
    assert plan["teacher"] == plan["plain"] > 500
    again, commands = pretended(300)
    assert not any("pkdn_lightning.train" in line for line in commands)
    assert [row for row in again if row["stage"] == "plan"][-1]["plain"] == plan["plain"]


@pytest.mark.parametrize(
    ("failing", "evaluated", "ends"),
    [
        (("pace_teacher", "pace_plain"), (), "Measuring the pace failed"),
        (("teacher", "plain"), (), "No training wrote a checkpoint"),
        (("plain",), ("teacher", "distilled"), "failed: plain"),
        (("teacher",), ("plain",), "failed: teacher"),
        (("evaluation",), ("teacher", "plain", "distilled"), "failed: evaluate"),
    ],
)
def test_a_failed_training_is_told_and_not_evaluated(pretended, capsys, failing, evaluated, ends):
    found, commands = pretended(570, failing=failing, ends=ends)
    assert "no such key" in capsys.readouterr().out
    models = [re.findall(r"models\.(\w+)=", line) for line in commands if "pkdn_lightning.evaluate" in line]
    assert models == ([list(evaluated)] if evaluated else [])
    assert len(found[-1]["failed"]) == len(failing)


def test_an_evaluation_that_is_cut_off_is_no_success(pretended):
    found, _ = pretended(21, cut_off=["evaluation"], ends=r"failed: evaluate \(out of time")
    assert not any(row["stage"] == "evaluated" for row in found)


def test_students_of_different_length_are_not_compared(pretended):
    found, _ = pretended(570, cut_off=("distilled",))
    evaluated = {row["what"]: row for row in found if row["stage"] == "evaluated"}
    assert evaluated["distilled portraits psnr_y"]["steps"] == 31
    difference = evaluated["distilled - plain portraits psnr_y"]
    assert difference["value"] is None
    assert difference["why"] == "not compared: distilled trained 31 steps, plain 90"
    assert evaluated["teacher - plain portraits psnr_y"]["value"] == -1


def test_a_process_is_stopped_at_its_limit_and_its_rows_stay(script, tmp_path, monkeypatch):
    options = ["check", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--tiny"]
    session = script("campaign").Campaign(script("campaign").parser().parse_args(options))
    waiting = "import signal, time; signal.signal(15, lambda *_: exit(3)); print('said', flush=True); time.sleep(60)"
    begun = time.monotonic()
    session.wait("part", session.start("part", "-c", waiting), 1)
    session.wait("done before", None, 1)
    assert time.monotonic() - begun < 15
    assert [row.get("value") for row in rows(tmp_path / "out")] == [None, "out of time"]
    assert "said" in (tmp_path / "out/logs/part.txt").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the processes on Linux only")
def test_processes_end_with_a_campaign_that_is_killed(tmp_path):
    """One that went on would hold its run folder, and the same command again would fail."""
    code = f"""if True:
        import sys, time
        from pathlib import Path
        from types import SimpleNamespace
        sys.path.insert(0, {str(FOLDER)!r})
        from processes import Campaign
        campaign = SimpleNamespace(rows="rows", work=".", _log=lambda name: Path("log"))
        process = Campaign.start(campaign, "part", "-c", "import time; print('started'); time.sleep(60)")
        while "\\nstarted" not in Path("log").read_text():
            time.sleep(0.05)
        print(process.pid, flush=True)
        time.sleep(60)
    """
    campaign = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    part = Path("/proc", campaign.stdout.readline().strip(), "cmdline")
    assert b"sleep" in part.read_bytes()
    campaign.kill()
    campaign.wait()
    ended = time.monotonic() + 10
    while time.monotonic() < ended and part.exists() and part.read_bytes():  # empty: ended, not yet reaped
        time.sleep(0.05)
    assert not part.exists() or not part.read_bytes()


# As a whole


def started(tmp_path, verb: str, seconds: int) -> subprocess.Popen:
    command = [sys.executable, str(FOLDER / "campaign.py"), verb, "--out", "out", "--work", "work", "--device", "cpu"]
    command += ["--tiny", "--seconds", str(seconds)]
    log = (tmp_path / "campaign.log").open("a")
    return subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on_to_its_end(tmp_path):
    moments = random.Random(0)
    for _ in range(3):
        process = started(tmp_path, "train", 600)
        time.sleep(moments.uniform(5, 45))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert all(row["stage"] for row in rows(tmp_path / "out"))
    process = started(tmp_path, "train", 600)
    assert process.wait(timeout=620) == 0, (tmp_path / "campaign.log").read_text()[-2000:]
    found = rows(tmp_path / "out")
    evaluated = {row["what"] for row in found if row["stage"] == "evaluated"}
    assert {"teacher portraits psnr_y", "distilled - plain portraits psnr_y"} <= evaluated
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"teacher.safetensors", "plain.safetensors", "distilled.safetensors", "grid_portraits.png"} <= files
    assert len(files) <= 8


@pytest.mark.slow
def test_the_checks_append_their_rows(tmp_path):
    process = started(tmp_path, "check", 300)
    assert process.wait(timeout=330) == 0, (tmp_path / "campaign.log").read_text()[-2000:]
    found = rows(tmp_path / "out")
    assert {row["value"] for row in found if row["stage"] == "test"} == {"passed"}
    assert any(row.get("unit") == "faces/s" for row in found)
