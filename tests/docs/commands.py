"""The commands that the pages show, taken from the pages: a shell reads them, and their configurations are composed.

Blocks of `bash` are read by bash itself, in which every program is a function that writes down what it was given; so
quotes, loops, variables and comments mean what they mean to a reader who types them.
"""

import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from pkdn_lightning.config import compose, conf_dir
from pkdn_lightning.config.command_line import as_overrides
from pkdn_lightning.config.compose import verb_dir
from pkdn_lightning.config.tree import register

ROOT = conf_dir().parent


def script(file: Path) -> ModuleType:
    """Returns a Python file that is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = (*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in (
    "README.md", "CONTRIBUTING.md", "experiments/README.md", "experiments/tracking/README.md",
)))  # fmt: skip

PROGRAMS = ("pkdn", "make", "source", "python", "python3", "pip", "wandb", "tensorboard", "mlflow", "mkdocs", "hf")
RUN = "2026-01-31_12-00-00"
PLACEHOLDERS = {
    "=<run>": f"=runs/student_celeba/{RUN}", "<run>": RUN, "<verb>": "train", "<file>": "published.pth",
    "<store>": "stores/celeba", "runs=<folder>": "runs=runs", "status <folder>": "status runs", "<folder>": "exported",
    "<dataset>": "celeba", "<download>": "~/Downloads/celeba", "<faces>": "faces", "<you>": "me",
    "<name>": "pkdn_student", "<weights>": "weights.pth", " ... ": " ",
}  # fmt: skip
"""What a reader puts in their place."""

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code, or a command in a sentence: where it stands, and what it says."""

    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    """Yields the blocks of a language on every page."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in fence.finditer(text):
            yield Block(page, text.count("\n", 0, found.start(1)), found[1])


def inline() -> Iterator[Block]:
    """Yields the commands inside sentences and tables."""
    for page in PAGES:
        text = FENCED.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
        for found in re.finditer(r"`((?:pkdn|make|python|wandb|tensorboard) [^`]+)`", text):
            yield Block(page, text.count("\n", 0, found.start()) + 1, found[1])


def overrides() -> Iterator[Block]:
    """Yields the overrides inside sentences and tables that are shown without their command, each once."""
    seen = set()
    for page in reversed(PAGES):  # README first
        text = FENCED.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))
        for found in re.finditer(r"`((?:-m )?'?[\w.]+=[^`\s]+(?: '?[\w.]+=[^`\s]+)*)`", text):
            if found[1] not in seen:
                seen.add(found[1])
                yield Block(page, text.count("\n", 0, found.start()) + 1, found[1])


@cache
def typed(block: Block) -> list[list[str]]:
    """Returns what bash makes of a block: the words of every command, in order."""
    code = block.code
    for placeholder, value in PLACEHOLDERS.items():
        code = code.replace(placeholder, value)
    functions = "\n".join(f'{program}() {{ printf "%s\\0" $(($# + 1)) {program} "$@"; }}' for program in PROGRAMS)
    done = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", f"PATH=\n{functions}\n{code}"],
        capture_output=True, text=True, cwd=ROOT, env={"HOME": "/home/reader"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{block}: {done.stderr}"
    words = iter(done.stdout.split("\0")[:-1])
    return [[next(words) for _ in range(int(count))] for count in words]


def overrides_of(arguments: Sequence[str], monkeypatch) -> tuple[str, list[str]]:
    """Returns the verb of a `pkdn` command and what it hands to Hydra."""
    verb, *rest = arguments
    module = importlib.import_module(f"pkdn_lightning.{verb}")
    handed: list[str] = []

    def hand(name, task):
        assert name == verb
        handed.extend(as_overrides(verb, sys.argv[1:]))

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_verb", hand)
        patch.setattr(sys, "argv", [verb, *rest])
        assert exit_status(module.main) == 0
    return verb, handed


def exit_status(program: Callable[[], None]) -> int | str:
    """Returns how a program ended: 0, or what it gave to `sys.exit`."""
    try:
        program()
    except SystemExit as end:
        return end.code or 0
    return 0


def composed(verb: str, arguments: Sequence[str]) -> dict:
    """Returns the configuration that a command composes: of a sweep, that of its last job."""
    flags = [each for each in arguments if each.startswith("-")]
    overrides = [each for each in arguments if not each.startswith("-")]
    assert set(flags) <= {"-m", "--multirun", "--help"}, flags
    sweeps = "-m" in flags or "--multirun" in flags
    return OmegaConf.to_container(compose(verb, jobs_of(verb, overrides)[-1] if sweeps else overrides))


def jobs_of(verb: str, overrides: Sequence[str]) -> list[list[str]]:
    """Returns the overrides of each job of a sweep: those typed and those of an ablation's file."""
    register(verb)
    with initialize_config_dir(config_dir=str(verb_dir(verb)), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        cfg = loader.load_configuration(verb, list(overrides), run_mode=RunMode.MULTIRUN)
    sweeper = cfg.hydra.sweeper
    lines = list(cfg.hydra.overrides.task)
    if sweeper["_target_"].endswith("BasicSweeper"):
        given = {line.partition("=")[0] for line in lines}
        params = OmegaConf.to_container(sweeper.params or OmegaConf.create(), resolve=False)
        lines += [f"{key}={value}" for key, value in params.items() if key not in given and "$" not in str(value)]
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(lines), None)
    return jobs
