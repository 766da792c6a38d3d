"""Sweeps: stable folders, what is done when one is started again, failures that are told, one teacher for all."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from pkdn_lightning import train as verb
from pkdn_lightning.errors import ConfigError
from pkdn_lightning.runs import RunFolder
from pkdn_lightning.sweep.session import SweepSession, fixed_keys, requeue
from pkdn_lightning.train.resume import check_same_run
from tests.conftest import TINY

PLAIN = "objective=reconstruction"
LEARNING = (
    "objective.ts.schedule=constant",
    "callbacks.last.every_n_minutes=0.001",
)  # from a teacher, checkpointed often


@pytest.fixture
def sweep(store, monkeypatch, capfd):
    """Returns a function that types `pkdn train -m ...` and returns the exit status and what was printed."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*overrides: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", command(store, *overrides)[2:])
        monkeypatch.setattr(SweepSession, "latest", None)
        with pytest.raises(SystemExit) as caught:
            verb.main()
        shown = capfd.readouterr()
        return int(caught.value.code or 0), shown.out + shown.err

    return run


def command(store, *overrides: str) -> list[str]:
    tiny = [each for each in TINY if each.partition("=")[0] not in {each.partition("=")[0] for each in overrides}]
    return [sys.executable, "-m", "pkdn_lightning.train", "-m", "experiment=student_celeba", *tiny,
            f"data.store={store.path}", *overrides]  # fmt: skip


def record(folder) -> dict:
    return json.loads((Path(folder) / "results.json").read_text())


def test_started_again_only_the_rest_is_run_and_a_failure_stops_no_other(sweep, monkeypatch):
    home = Path("runs/student_faces/model.width")
    status, shown = sweep(PLAIN, "model.width=0,8,6")  # a network of width 0 cannot be made
    assert status == 1
    names = {folder.name for folder in home.iterdir() if folder.is_dir()}
    assert names == {"model.width-0", "model.width-6", "model.width-8"}
    assert [record(home / f"model.width-{width}")["status"] for width in (0, 8, 6)] == [
        "failed",
        "finished",
        "finished",
    ]
    assert "width=0" in record(home / "model.width-0")["error"]
    assert "1 failed, 2 finished" in shown
    repeat = next(line for line in shown.splitlines() if line.startswith("Run it again: "))
    assert "model.width=0" in repeat
    assert "run_dir=" in repeat
    assert "ablation" not in repeat
    assert record(home / "model.width-8")["command"].endswith(f"run_dir={(home / 'model.width-8').resolve()}")
    finished = {name: (home / name / "results.json").stat().st_mtime_ns for name in names - {"model.width-0"}}
    (home / "model.width-6" / "results.json").unlink()  # as a kill leaves it: checkpoints, and no word
    again, shown = sweep(PLAIN, "model.width=8,6")
    assert again == 0
    assert "model.width-8: already finished; skipped." in shown
    assert "Resuming PKDNStudent" in shown
    assert "Training PKDNStudent" not in shown
    assert (home / "model.width-8" / "results.json").stat().st_mtime_ns == finished["model.width-8"]
    assert record(home / "model.width-6")["status"] == "finished"


def test_a_job_that_broke_off_before_its_first_checkpoint_begins_anew_and_another_run_is_left_alone(sweep):
    assert sweep(PLAIN)[0] == 0  # a sweep over nothing is one job
    run = RunFolder(Path("runs/student_faces/multirun/single"))
    before, rows = record(run.path), run.metrics.read_text().splitlines()
    run.results.unlink()
    run.last.unlink()
    assert sweep(PLAIN)[0] == 0
    after = record(run.path)
    assert after["metrics"] == before["metrics"]
    assert len(run.metrics.read_text().splitlines()) == len(rows)  # nothing twice
    assert sweep(PLAIN, "optimizer.lr=0.5")[0] == 0
    assert record(run.path) == after
    assert record(Path("runs/student_faces/multirun-2/single"))["status"] == "finished"


def test_where_and_how_a_job_runs_does_not_make_it_another(trained_student, tiny_config):
    run = trained_student.run
    check_same_run(run, tiny_config(PLAIN, "threads=1", "trainer.log_every_n_steps=5", "logger=none", "test=false"))
    for override in ("seed=1", "data.flip_probability=0.5", "ema=standard", "trainer.max_steps=7"):
        with pytest.raises(ConfigError, match="holds another run"):
            check_same_run(run, tiny_config(PLAIN, override))


def test_ctrl_c_stops_the_sweep_and_the_same_command_ends_it(sweep, monkeypatch):
    from tests.train.conftest import stop_at

    home = Path("runs/student_faces/seed")
    with monkeypatch.context() as patch:
        stop_at(patch, step=3)
        status, shown = sweep(PLAIN, "seed=0,1")
    assert status == 1
    assert "Stopped" in shown
    assert record(home / "seed-0")["status"] == "interrupted"
    assert not (home / "seed-1").exists()
    status, shown = sweep(PLAIN, "seed=0,1")
    assert status == 0
    assert [line.split()[0] for line in shown.splitlines() if "PKDNStudent" in line] == ["Resuming", "Training"]
    assert [record(home / name)["steps"] for name in ("seed-0", "seed-1")] == [6, 6]


def test_sweeps_with_other_fixed_keys_do_not_share_a_folder(sweep):
    home = Path("runs/student_faces/seed")
    assert sweep(PLAIN, "seed=0")[0] == 0
    assert sweep(PLAIN, "seed=0,1", "trainer.max_steps=1")[0] == 0
    names = {folder.name for folder in home.iterdir()}
    other = (PLAIN, "seed=2,3", "trainer.max_steps=2", "optimizer.lr=0.5")
    status, shown = sweep(*other, f"hydra.sweep.dir={home}")
    assert status == 1
    told = "is kept: it has optimizer.lr=0.0001 instead of 0.5, trainer.max_steps=1 instead of 2"
    assert f"{home} holds another sweep, which {told}" in shown
    assert "hydra.sweep.dir=" in shown
    status, shown = sweep(*other)
    assert (status, f"{told}. This one's folder: {home}-2" in shown) == (0, True)
    assert {folder.name for folder in home.iterdir()} == names
    assert RunFolder(Path(f"{home}-2/seed-3")).finished
    status, shown = sweep(*other)
    assert (status, shown.count("already finished")) == (0, 2)
    assert not Path(f"{home}-3").exists()
    assert sweep(PLAIN, "seed=2,3", "trainer.max_steps=1", "logger=none", "threads=1")[0] == 0
    assert (home / "seed-3").is_dir()


def test_keys_that_every_job_shares_are_not_in_its_name():
    overrides = ["experiment=demo", "seed=0", "seed=0,1", "objective.ts.weight=0.1", "+model.x=3"]
    assert fixed_keys(overrides, {"objective.ts.weight": "0,1"}) == ["experiment", "model.x"]


def test_an_ablation_without_m_is_a_mistake(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "experiment=student_celeba", "ablation=modules"])
    monkeypatch.setattr(SweepSession, "latest", None)
    with pytest.raises(SystemExit):
        verb.main()
    assert "pkdn train -m" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_the_teacher_once_and_one_takes_over_from_a_killed_one(store, tmp_path):
    def start(name: str) -> subprocess.Popen:
        job = command(store, f"hydra.sweep.dir={name}", *LEARNING, "teacher.max_steps=400", "seed=0,1")
        return subprocess.Popen(job, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    first, second = start("a"), start("b")
    teacher = wait_for(lambda: next(Path("runs/teacher_faces").glob("auto-*/checkpoints/last.ckpt"), None))
    home = RunFolder(teacher.parent.parent)
    pid = int(json.loads(home.provenance.read_text())["machine"]["pid"])
    trains, waits = (first, second) if first.pid == pid else (second, first)
    trains.send_signal(signal.SIGKILL)
    trains.wait()
    out, _ = waits.communicate(timeout=300)
    assert waits.returncode == 0, out
    assert "Waiting for another process that trains the teacher" in out
    assert "Resuming PKDNTeacher" in out
    assert len(list(Path("runs/teacher_faces").glob("auto-*"))) == 1
    assert home.read_results()["steps"] == 400


def wait_for(found, timeout_s: float = 120):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if value := found():
                return value
        time.sleep(0.05)
    raise AssertionError("it did not happen")


REFUSED = "echo 'sbatch: error: Memory specification can not be satisfied' >&2; exit 1"
CANCELLED = "printf 'JobID|State|NodeList\\n3_0|CANCELLED by 0|node\\n'"
SLURM = [  # the commands there are, and what is said of them
    ({}, "SweepError: there is no SLURM on this machine: srun is not found."),
    ({"srun": "", "sbatch": REFUSED}, "SweepError: SLURM refused the jobs: Memory specification can not be satisfied."),
    (
        {"srun": "", "sbatch": "echo Submitted batch job 3", "sacct": CANCELLED},
        "SweepError: job 3_0 ended without a result (state CANCELLED by 0); its log is ",
    ),
]


@pytest.mark.skipif(find_spec("submitit") is None, reason="submitit is not installed")
@pytest.mark.parametrize(("commands", "expected"), SLURM, ids=["none", "refused", "cancelled"])
def test_what_slurm_does_is_told(sweep, monkeypatch, tmp_path_factory, commands, expected):
    from submitit.core.core import Job

    monkeypatch.setattr(Job, "_results_timeout_s", 0)
    path = tmp_path_factory.mktemp("slurm")
    for name, script in commands.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(path) + ("" if not commands else ":/usr/bin:/bin"))
    status, shown = sweep(PLAIN, "model.width=6,8", "launch=slurm")
    assert status == 1
    assert expected in shown
    assert "Traceback" not in shown
    assert "Sweep in" not in shown  # no job has begun


LAUNCHERS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "slurm_local": "hydra_plugins.hydra_submitit_launcher",
    "ray": "hydra_plugins.hydra_ray_launcher",
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_reports_failures_and_goes_on(store, launcher):
    with contextlib.suppress(ModuleNotFoundError):
        if find_spec(LAUNCHERS[launcher]) is None:
            pytest.skip(f"the plugin of launch={launcher} is not installed")
    jobs = command(store, PLAIN, "model.width=0,8", f"launch={launcher}")
    done = subprocess.run(jobs, capture_output=True, text=True, check=False, timeout=300)
    home = Path("runs/student_faces/model.width")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 finished" in done.stdout
    assert record(home / "model.width-8")["status"] == "finished"
    assert "width=0" in record(home / "model.width-0")["error"]


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_killed(store):
    pytest.importorskip("optuna")
    search = command(store, *LEARNING, "sweep=optuna", "hydra.sweeper.n_trials=3", "teacher.max_steps=3",
                     "trainer.max_steps=200")  # fmt: skip
    process = subprocess.Popen(search, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    home = Path("runs/student_faces/optuna")
    wait_for(lambda: list(home.glob("*/checkpoints/last.ckpt")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(search, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resuming PKDNStudent" in done.stdout
    assert requeue(f"sqlite:///{home}/study.db", "pkdn") == (4, 3)  # the killed one, its second half, and two more
    assert len([path for path in home.iterdir() if path.is_dir()]) == 3
