"""Runs a command of the pages: on few faces, with small networks, for a step or two; a server until it answers."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from urllib.request import urlopen

from pkdn_lightning.__main__ import VERBS, main
from pkdn_lightning.sweep.session import SweepSession
from tests.docs.commands import exit_status

SERVERS = {
    "demo": ("-m", "pkdn_lightning.demo", "browser=false", "accelerator=cpu", "threads=1"),
    "tensorboard": ("-m", "tensorboard.main", "--port", "0"),
}
"""What runs until it is stopped, and how it is started here."""

_SHORT = (
    "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", "trainer.max_epochs=-1", "trainer.max_steps=2",
    "trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null", "trainer.log_every_n_steps=1", "threads=1",
    "data.batch_size=2", "data.eval_batch_size=2", "teacher.max_steps=2",
)  # fmt: skip
_FEW_FACES = ("data.source.train=8", "data.source.val=2", "data.source.test=2")
_SMALLER = {
    "experiment=student": ("model.width=8", "model.rcabs_per_level=1"),
    "experiment=teacher": ("model.width=8",),
    "experiment=dic": ("model.features=8", "model.groups=1", "model.hourglass_features=16"),
    "experiment=sparnet": ("model.width=8", "model.max_width=16", "model.attention_width=8"),
    "experiment=demo": ("model.width=8", *_FEW_FACES),
    "ablation=student": ("model.rcabs_per_level=1,2", "model.ffb=false,true"),
    "ablation=lambdas": ("objective.ts.weight=0,0.1", "objective.fs.weight=0"),
    "sweep=optuna": ("hydra.sweeper.n_trials=2",),
    "launch=joblib": ("hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra.launcher.n_jobs=2"),
    "resume=": ("trainer.max_steps=4",),
    "parser=bisenet": ("parser.sha256=null", "parser.input_px=64"),
    "data=celeba": _FEW_FACES,
}
"""What is added to a command that has a word which begins so."""


def small(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of `pkdn` with what makes running them a matter of seconds."""
    verb, *words = arguments
    if "--help" in words or not words or verb not in VERBS:
        return list(arguments)
    added = {
        "train": _SHORT if not any(word.startswith("resume=") for word in words) else (),
        "prepare": ("workers=0",),
        "evaluate": ("accelerator=cpu", "data.eval_batch_size=2"),
        "report": ("accelerator=cpu", "threads=1", "data.eval_batch_size=2"),
        "predict": ("accelerator=cpu", "threads=1"),
        "info": ("accelerator=cpu", "threads=1", "rounds=1"),
        "export": ("threads=1", "faces=4"),
    }.get(verb, ())
    smaller = [
        each
        for start, more in _SMALLER.items()
        if any(word.startswith(start) for word in words) and not (start == "data=celeba" and verb != "prepare")
        for each in more
    ]
    return [verb, *words, *added, *smaller]


def run(words: Sequence[str], monkeypatch) -> None:
    """Runs a command in the current folder, and checks that it ends well."""
    program, *arguments = words
    if program == "tensorboard" or arguments[:1] == ["demo"]:
        visit(words)
        return
    assert program == "pkdn", f"nobody knows how to run {program}: see NOT_RUN"
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # run_verb sets it for good
    monkeypatch.setattr(SweepSession, "latest", None)
    monkeypatch.setattr(sys, "argv", [program, *small(arguments)])
    endless = "watch=true" in arguments
    with monkeypatch.context() as patch:
        if endless:
            patch.setattr(time, "sleep", interrupt)
        assert exit_status(main) == int(endless), " ".join(sys.argv)


def interrupt(_: float) -> None:
    """Ctrl-C, from a reader who has seen enough."""
    raise KeyboardInterrupt


def visit(words: Sequence[str]) -> None:
    """Starts a server, waits until its page answers, and stops it."""
    name = "demo" if words[0] == "pkdn" else words[0]
    arguments = [
        f"port={free_port()}" if word.startswith("port=") else word for word in words if word not in ("pkdn", name)
    ]
    command = [sys.executable, *SERVERS[name], *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as server:
        said = []
        try:
            for line in server.stdout:
                said.append(line)
                if address := re.search(r"http://(127\.0\.0\.1|localhost):\d+", line):
                    assert urlopen(address[0], timeout=60).status == 200
                    return
            raise AssertionError("".join(said))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
