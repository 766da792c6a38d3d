"""`shards=n`: jobs on a launcher, joined into what one process makes; a failed shard is told and made again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pkdn_lightning import prepare as verb
from pkdn_lightning.config import compose
from pkdn_lightning.prepare.shard_jobs import ShardSession
from tests.prepare.conftest import ROOT, contents
from tests.prepare.test_prepare_verb import TINY, run


@pytest.fixture
def typed(monkeypatch):
    """Runs the verb in this process as from the command line and returns its exit status."""

    def command(*arguments: str) -> int:
        monkeypatch.setattr(ShardSession, "latest", None)
        monkeypatch.setattr(sys, "argv", ["prepare", *TINY, *arguments])
        try:
            verb.main()
        except SystemExit as end:
            return end.code
        return 0

    return command


def test_jobs_make_what_one_process_makes(typed):
    assert typed("shards=3", "out=many, of them/tiny") == 0
    expected = contents(run("out=alone").path)
    assert contents(Path("many, of them/tiny")) == expected
    assert contents(verb.prepare(compose("prepare", [*TINY, "shards=2", "out=from_python"])).path) == expected


def test_a_failed_shard_is_told_and_made_by_the_same_command(typed, capsys, tmp_path):
    assert typed("shards=2", "+data.source.fails_at=200") == 1
    told = capsys.readouterr().err
    assert "shard=2/2: DataError: Tiny failed at test/00200: RuntimeError: never foreseen" in told
    assert "1 of 2 shards were not made. The same command continues them and keeps the others." in told
    made = tmp_path / "stores/tiny.shard-0001-of-0002/hr.npy"
    before = made.stat().st_mtime_ns
    assert not (tmp_path / "stores/tiny").exists()
    assert typed("shards=2", "+data.source.seed=1") == 1
    assert "shard-0001-of-0002 was made with other options: made.seed is 0 there, 1 now" in capsys.readouterr().err
    assert typed("shards=2") == 0
    assert made.stat().st_mtime_ns == before
    assert contents(tmp_path / "stores/tiny") == contents(run("out=alone").path)
    assert not list(tmp_path.glob("stores/*.error.txt"))
    assert typed("shards=2") == 1
    assert "stores/tiny exists already and is kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["shards=0"], "shards=0: expected a whole number from 1 to 9999"),
        (["shards=two"], "shards=two: expected a whole number from 1 to 9999"),
        (["shards=2", "shard=1/2"], "shards=2 and shard=1/2 exclude each other"),
        (["shards=2", "join=stores/tiny"], "shards=2 and join=stores/tiny exclude each other"),
        (["-m", "seed=1,2"], "runs once. shards=8 makes a store in eight jobs"),
        (["launch=joblib"], "Say how many: shards=8 launch=joblib"),
    ],
)
def test_what_makes_no_jobs(typed, capsys, tmp_path, arguments, told):
    assert typed(*arguments) == 1
    assert told in capsys.readouterr().err.replace("'", "")
    assert not (tmp_path / "stores").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["joblib", "slurm_local"])
def test_killed_shards_go_on_with_every_launcher(launch, tmp_path):
    pytest.importorskip({"joblib": "hydra_plugins.hydra_joblib_launcher",
                         "slurm_local": "hydra_plugins.hydra_submitit_launcher"}[launch])  # fmt: skip
    command = [sys.executable, "-m", "pkdn_lightning.prepare", *TINY, "shards=2", f"launch={launch}"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    tried = tmp_path / "stores/tiny.shard-0001-of-0002.partial/tried.bin"
    slow = [*command, "+data.source.pause=0.05"]
    with subprocess.Popen(slow, env=env, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while process.poll() is None and not (tried.exists() and tried.stat().st_size):
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    time.sleep(8 if launch == "slurm_local" else 1)  # its jobs have sessions of their own and end by themselves
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "stores/tiny") == contents(run("out=alone").path)
