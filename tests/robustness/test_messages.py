"""Mistakes on the command line: every key and group of every verb, through the verb itself.

Each ends with exit code 1 or 2, a message that names what was typed, no stack trace, and no file written or changed.
"""

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pkdn_lightning.__main__ import VERBS
from pkdn_lightning.config.compose import conf_dir, verb_dir
from pkdn_lightning.config.keys import Key, keys_of
from pkdn_lightning.config.schema import SCHEMAS
from pkdn_lightning.values import Interval, OneOf, Range, marks
from tests.conftest import TINY

_LIMIT_S = 30  # a mistake is told soon, and a verb that waits for ever is one, too

TRAINING = ("experiment=student_celeba", "teacher=none", "objective=reconstruction", *TINY)


class Mistake(NamedTuple):
    """What is typed, and what the message has to say."""

    verb: str
    typed: tuple[str, ...]
    said: str

    def __str__(self) -> str:
        return " ".join([self.verb, *(each for each in self.typed if each not in TRAINING)])


def mistakes_in_keys() -> Iterator[Mistake]:
    """Yields, for each key of each verb, its name misspelt and values that it does not accept."""
    for verb in VERBS:
        for key in keys_of(SCHEMAS[verb]):
            misspelt = f"{key.name[:-1]}q" if len(key.name) > 1 else "q"
            yield Mistake(verb, (f"{misspelt}=1",), misspelt.split(".")[0])
            for value in wrong_values(key):
                yield Mistake(verb, (f"{key.name}={value}",), key.name)


def wrong_values(key: Key) -> Iterator[str]:
    """Yields values that a key does not accept."""
    found = marks(key.hint)
    hint = str(key.hint)
    if any(isinstance(mark, OneOf) for mark in found) and "bool" not in hint:
        yield "nonsense"
    for mark in found:
        if isinstance(mark, Range):
            yield from ("abc", "nan" if "float" in hint else "1.5")
            yield "[2,1]" if isinstance(mark, Interval) else "[1,2]"
            if mark.least > -1e300:
                yield f"{int(mark.least) - (0 if mark.above else 7)}"
            if mark.most < 1e300:
                yield f"{int(mark.most) + 1}"
    if key.hint is bool:
        yield "maybe"


def mistakes_in_groups() -> Iterator[Mistake]:
    """Yields a choice that does not exist for each group of each verb."""
    for verb in VERBS:
        defaults = (verb_dir(verb) / f"{verb}.yaml").read_text()
        for group in sorted(path.name for path in conf_dir().glob("[a-z]*/")):
            if f"  - {group}: " in defaults:
                yield Mistake(verb, (f"{group}=nonsense",), f"There is no 'nonsense' in '{group}'")


BY_HAND = [
    *(Mistake("train", (*TRAINING, *typed.split()), said) for typed, said in [
        ("optimizer.lr=abc", "optimizer.lr=abc: expected a number"),
        ("optimizer.lr=-1", "optimizer: Invalid learning rate"),
        ("optimizer.lr=nan", "optimizer: Invalid learning rate"),
        ("optimizer.betas=[0.9,7]", "optimizer: Invalid beta parameter"),
        ("optimizer.betas=[0.9]", "optimizer:"),
        ("optimizer.lrr=1", "Did you mean 'optimizer.lr'?"),
        ("optimizer._target_=torch.optim.Adm", "optimizer._target_=torch.optim.Adm cannot be found"),
        ("+scheduler._target_=nowhere.Schedule", "scheduler._target_=nowhere.Schedule cannot be found"),
        ("model.width=0", "model.width=0: expected a whole number, 1 or more"),
        ("model.levels=0", "model.levels=0"),
        ("model.levels=9", "divisible by 512"),
        ("model.rcabs_per_level=[1,2]", "rcabs_per_level"),
        ("model.rcabs_per_level=-1", "model.rcabs_per_level=-1"),
        ("data.scale=3", "3"),
        ("data.batch_size=0", "data.batch_size=0"),
        ("trainer.precision=17", "trainer.precision=17: expected one of auto, 32-true"),
        ("trainer.accelerator=gpu", "trainer.accelerator=gpu, but PyTorch found no GPU"),
        ("trainer.devices=0", "trainer.devices=0: expected at least one"),
        ("trainer.devices=4", "4 processes cannot share 3 val faces"),
        ("trainer.devices=abc", "trainer"),
        ("trainer.strategy=abc", "trainer"),
        ("trainer.max_time=abc", "trainer"),
        ("trainer.limit_val_batches=abc", "trainer.limit_val_batches"),
        ("trainer.limit_val_batches=1.5", "trainer"),
        ("trainer.val_check_interval=1000 trainer.check_val_every_n_epoch=1", "val_check_interval=1000"),
        ("trainer.val_check_interval=0", "trainer.val_check_interval=0"),
        ("callbacks.last.every_n_minutes=-1", "callbacks.last.every_n_minutes=-1"),
        ("callbacks.grid.faces=0", "callbacks.grid.faces=0"),
        ("callbacks.best.mode=maxx", "callbacks.best"),
        ("callbacks.best.monitor=val/psnr", "val/psnr"),
        ("teacher=pkdn teacher.checkpoint=nowhere objective=distillation", "nowhere"),
        ("module.init_from=nowhere", "nowhere"),
        ("module.init_from=teacher", "this run has no teacher"),
        ("objective.ts.weight=1", "Unknown key 'objective.ts'"),
        ("teacher=none teacher.model.width=8", "teacher.model is empty in this configuration"),
        ("objective.sr.weight=-1", "objective.sr.weight=-1"),
        ("objective.sr.schedule=linar", "Did you mean 'linear'?"),
        ("data.store=nowhere", "nowhere"),
        ("data.test_stores.a=nowhere", "nowhere"),
        ("resume=nowhere", "nowhere is not a run folder"),
        ("ablation=modules", "Type: pkdn train -m"),
        ("-m --cfg job", "exclude each other"),
        ("seed=0,1", "seed=0,1"),
        ("size=reducd", "Did you mean 'reduced'?"),
    ]),
    *(Mistake("prepare", ("data=portraits", *typed.split()), said) for typed, said in [
        ("data.source.size_px=0", "data.source.size_px=0"),
        ("data.source.train=-1", "data.source.train=-1"),
        ("data.source.train=many", "data.source.train=many"),
        ("shard=3", "shard"),
        ("shard=5/2", "shard"),
        ("join=nowhere", "nowhere"),
        ("verify=nowhere", "No store at nowhere"),
        ("parser=bisenet", "parser.weights"),
        ("workers=-1", "workers=-1"),
    ]),
    Mistake("predict", ("input=nowhere", "output=out"), "There is no nowhere"),
    Mistake("predict", ("input=.",), "output= is not set"),
    Mistake("export", ("model=", "output=out"), "No model is named"),
    Mistake("predict", ("input=nowhere/*.png", "output=out"), "nowhere"),
    Mistake("export", ("output=out", "formats=[safetensor]"), "Did you mean 'safetensors'?"),
    Mistake("export", ("output=out", "store=nowhere"), "nowhere"),
    Mistake("export", ("output=out", "model=nowhere"), "nowhere"),
    Mistake("evaluate", ("models.a=nowhere", "data=portraits"), "nowhere"),
    Mistake("evaluate", ("data=portraits", "protocols=[headlin]"), "Did you mean 'headline'?"),
    Mistake("evaluate", ("data=portraits", "extra=[lpip]"), "Did you mean 'lpips'?"),
    Mistake("report", ("runs=nowhere",), "nowhere"),
    Mistake("sweep", ("runs=nowhere",), "nowhere"),
    Mistake("sweep", ("status", "nowhere"), "nowhere"),
    Mistake("info", ("model.width=0",), "model.width=0"),
    Mistake("info", ("models.a=nowhere",), "nowhere"),
    Mistake("demo", ("model=nowhere", "browser=false"), "nowhere"),
    Mistake("demo", ("host=example.invalid", "browser=false"), "example.invalid"),
    *(Mistake(verb, (typed,), said) for verb in VERBS for typed, said in [
        ("nonsense", "'nonsense' is no override"),
        ("=3", "'=3' is no override"),
        ("--nonsense", "--nonsense"),
        ("+nonsense.a.b=1", "nonsense"),
        ("~nonsense", "nonsense"),
    ] if (verb, typed) != ("sweep", "nonsense")),
]  # fmt: skip

GENERATED = [*mistakes_in_keys(), *mistakes_in_groups()]
SAMPLE = GENERATED[::40]


def check(mistake: Mistake, store, folder: Path, monkeypatch, capsys) -> None:
    """Types a mistake, and checks what becomes of it."""
    needs_store = mistake.verb == "evaluate" or mistake.typed[: len(TRAINING)] == TRAINING
    places = [f"data.store={store.path}"] if needs_store else []
    given = {each.partition("=")[0] for each in mistake.typed}
    places = [each for each in places if each.partition("=")[0] not in given]
    before = sorted(store.path.rglob("*"))
    monkeypatch.setattr(sys, "argv", [mistake.verb, *places, *mistake.typed])
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"it had not ended after {_LIMIT_S} s"))
    signal.alarm(_LIMIT_S)
    try:
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"pkdn_lightning.{mistake.verb}").main()
    finally:
        signal.alarm(0)
    shown = capsys.readouterr()
    assert ended.value.code in (1, 2)
    assert mistake.said in shown.err
    assert "Traceback" not in shown.err
    assert "Error executing job" not in shown.err
    assert len(shown.err.splitlines()) <= 6
    assert [*folder.rglob("*")] == []
    assert sorted(store.path.rglob("*")) == before


@pytest.mark.parametrize("mistake", [*SAMPLE, *BY_HAND], ids=str)
def test_a_mistake_is_named_and_costs_nothing(mistake, store, tmp_path, monkeypatch, capsys):
    check(mistake, store, tmp_path, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [each for each in GENERATED if each not in SAMPLE], ids=str)
def test_every_other_mistake_is_named_and_costs_nothing(mistake, store, tmp_path, monkeypatch, capsys):
    check(mistake, store, tmp_path, monkeypatch, capsys)
