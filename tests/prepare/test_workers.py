"""Work shared among processes: in order, a little ahead, and nobody is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.rejection import Rejected
from pkdn_lightning.prepare import workers
from pkdn_lightning.prepare.workers import in_order, worker_count
from tests.prepare.conftest import ROOT


def square(number: int) -> int:
    time.sleep(0.02 * (number % 3 == 0))  # so that the later ones are ready earlier
    return number * number


def answer(number: int) -> object:
    """What a worker may do: say who it is and how it takes Ctrl-C, fail, and die."""
    if number == 0:
        return os.getpid(), signal.getsignal(signal.SIGINT)
    if number == 1:
        raise Rejected("odd", "of a kind")
    os._exit(3)


def tell_and_sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def never(item: object) -> bool:
    return False


@pytest.mark.parametrize("count", [0, 2])
def test_results_come_in_order(count):
    results = in_order(square, iter(range(25)), count, skip=lambda number: number % 5 == 4)
    assert list(results) == [(number, None if number % 5 == 4 else number * number) for number in range(25)]


@pytest.mark.parametrize("count", [0, 2])
def test_items_are_drawn_only_a_little_ahead(count):
    drawn = []
    results = in_order(square, (drawn.append(number) or number for number in range(1000)), count, skip=never)
    for number in range(5):
        assert next(results) == (number, number * number)
        assert len(drawn) <= number + 1 + 3 * count
    results.close()


def test_what_a_worker_says_and_how_it_dies():
    results = in_order(answer, [0, 1, 2], 1, skip=never)
    _, (process, interrupt) = next(results)
    assert process != os.getpid()
    assert interrupt is signal.SIG_IGN  # Ctrl-C is the parent's affair
    with pytest.raises(Rejected, match="odd: of a kind"):
        next(results)
    with pytest.raises(DataError, match=r"A worker process died.* run the same command again.* smaller workers="):
        list(in_order(answer, [2], 1, skip=never))


def test_a_worker_that_died_is_noticed_when_more_work_is_handed_in():
    results = in_order(square, range(100), 1, skip=never)
    next(results)
    pool = results.gi_frame.f_locals["pool"]
    os.kill(next(iter(pool._processes)), signal.SIGKILL)
    time.sleep(0.3)
    with pytest.raises(DataError, match="A worker process died"):
        list(results)


def test_workers_end_when_nobody_asks_any_more():
    results = in_order(answer, [0], 1, skip=never)
    _, (process, _) = next(results)
    results.close()
    assert not is_alive(process)


def test_how_many_workers(monkeypatch):
    monkeypatch.setattr(workers, "_can_spawn", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    assert worker_count(None, 10_000) == 3
    assert worker_count(None, 20) == 0  # not worth it
    assert (worker_count(0, 10_000), worker_count(5, 20), worker_count(5, 0)) == (0, 5, 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert worker_count(None, 10_000) == 0
    with pytest.raises(ConfigError, match="workers=-1: expected 0 .no processes. or more"):
        worker_count(-1, 0)


def test_a_script_without_a_guard_works_and_is_told_why_its_workers_do_not(tmp_path):
    code = (
        "import sys\n"
        "from pkdn_lightning.errors import DataError\n"
        "from pkdn_lightning.prepare.workers import in_order, worker_count\n"
        "print(worker_count(None, 10_000))\n"
        "try:\n"
        "    list(in_order(abs, [0], 1, skip=bool))\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    (tmp_path / "script.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "script.py"], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "0"
    assert "No worker process could start: each runs " in done.stdout
    assert "script.py again, which starts this work again." in done.stdout


def test_workers_end_by_themselves_when_their_parent_is_killed(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from tests.prepare.test_workers import *\n"
        "if __name__ == '__main__':\n"
        f"    list(in_order(tell_and_sleep, [Path({str(tmp_path)!r})] * 9, 2, skip=never))\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    parent = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    try:
        assert wait(lambda: len(list(tmp_path.iterdir())) == 2), "the workers did not begin"
    finally:
        parent.kill()
        parent.wait()
    processes = [int(file.name) for file in tmp_path.iterdir()]
    assert wait(lambda: not any(map(is_alive, processes)), 5), "workers outlived their parent"


def wait(until, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not (there := until()) and time.monotonic() < end:
        time.sleep(0.02)
    return there


def is_alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in ("", "Z")
