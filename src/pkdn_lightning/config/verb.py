"""Runs a verb from the command line: Hydra composes, errors are told without a stack trace."""

import contextlib
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]  # no stubs

from pkdn_lightning.config.command_line import as_jobs, as_overrides, replaced
from pkdn_lightning.config.compose import verb_dir
from pkdn_lightning.config.deltas import check_deltas
from pkdn_lightning.config.help import help_text
from pkdn_lightning.config.instances import trust_targets
from pkdn_lightning.config.keys import check_config, unknown_key
from pkdn_lightning.config.sweep_errors import explain_sweep
from pkdn_lightning.config.tree import check_own_names, groups, options, register, unread_in_own_conf
from pkdn_lightning.errors import PKDNError, describe, did_you_mean
from pkdn_lightning.files import remove_if_empty


def run_verb(verb: str, task: Callable[[DictConfig], Any]) -> None:
    """Composes the configuration of `verb` from the command line and hands it to `task`.

    Args:
        verb: Name of a file at the root of the Hydra tree.
        task: What to do; its return value is what a sweeper optimises.
    """
    gc.set_threshold(10_000)  # collections while torch is imported find nothing and take a twelfth of a short training
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints exceptions itself instead of raising them
    register(verb)

    @hydra.main(version_base="1.3", config_path=str(verb_dir(verb)), config_name=verb)
    def app(cfg: DictConfig) -> Any:
        sys.argv[1:] = typed  # what a run records as its command
        # Here, too: Hydra announces an exception that passes through it before anyone can print a message.
        with _translated_errors(), _removed_if_empty(Path(HydraConfig.get().runtime.output_dir)):
            if "run_dir" in cfg:
                cfg.run_dir = HydraConfig.get().runtime.output_dir
            check_deltas(verb, cfg, HydraConfig.get().overrides.task)
            check_config(verb, cfg)
            trust_targets(cfg)
            return task(cfg)

    typed = sys.argv[1:]
    try:
        with _translated_errors():
            overrides = as_overrides(verb, typed)
            if {"-h", "--help"} & set(typed):
                sys.stdout.write(help_text(verb, [each for each in overrides if not each.startswith("-")]))
                return
            check_own_names(overrides)
            sys.stderr.writelines(f"{note}\n" for note in (*replaced(typed), *unread_in_own_conf()))
            sys.argv[1:] = as_jobs(verb, overrides)
            sweeps = verb == "train" or "-m" in sys.argv
            with contextlib.nullcontext() if sweeps else _run_once():
                app()
    finally:
        sys.argv[1:] = typed
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None  # or what is composed next in this process would be named after this job


@contextlib.contextmanager
def _run_once() -> Iterator[None]:
    """Spares a verb without sweeps the composition by which Hydra finds out whether it is to sweep."""
    original = Hydra.get_mode
    Hydra.get_mode = lambda *_, **__: RunMode.RUN  # type: ignore[method-assign]  # a sixth of a second
    try:
        yield
    finally:
        Hydra.get_mode = original  # type: ignore[method-assign]  # as it was


@contextlib.contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Removes the folder that Hydra made, and its parents, if a verb failed before it wrote anything there."""
    try:
        yield
    finally:
        remove_if_empty(folder)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Ends the program with a message for errors that a user can correct; a fault of the program keeps its trace."""
    try:
        with _unwrapped_resolver_errors():
            yield
    except PKDNError as error:
        fail(describe(error))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:  # a missing one is an OSError
        fail(f"ConfigError: {explain(error)}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader is gone, e.g. `| head -1`
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"FileError: {error.filename}: {error.strerror}.")
    except (ValueError, RuntimeError) as error:
        if (message := explain_sweep(error)) is None:
            raise
        fail(message)
    except KeyboardInterrupt:
        fail("Stopped by the keyboard.")


@contextlib.contextmanager
def _unwrapped_resolver_errors() -> Iterator[None]:
    """Raises the original error of a resolver, which OmegaConf wraps in an error of the key."""
    try:
        yield
    except OmegaConfBaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, PKDNError | OSError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def explain(error: BaseException) -> str:
    """Returns what is wrong with a configuration, with the nearest match of an unknown name."""
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        return f"{mark.name}, line {mark.line + 1} is not valid YAML: {error.problem or error.context}."
    if isinstance(error, MissingConfigException):
        group, _, wanted = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
        if group in _PLUGINS:
            return _explain_plugin(group, wanted)
        if choices := sorted(error.options or options(group)):  # of a list of choices Hydra does not tell them
            hint = did_you_mean(wanted, choices)
            own = f"Files of your own are read from the current folder: conf/{group}/{wanted}.yaml"
            return f"There is no '{wanted}' in '{group}'.{hint}\nThere are: {', '.join(choices)}\n{own}"
    cause = error
    while not isinstance(cause, OmegaConfBaseException) and (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    message = re.sub(r"\n\s*(full_key|object_type|reference_type).*", "", str(error)).strip()
    file = re.match(r"In '([\w/]+)': ", message)  # which set the value
    where = f"In conf/{file[1]}.yaml: " if file else ""
    if isinstance(cause, OmegaConfBaseException):
        return where + _explain_omegaconf(cause, message)
    return _explain_override(message, where)


def _explain_override(message: str, where: str) -> str:
    """Returns what is wrong with a choice or a value, typed or in a file; `where` names the file."""
    if twice := re.search(r"To override a value use 'override (\S+): (\S+)'", message):
        return f"{where}A choice of {twice[1]} in the defaults of a file: '- override /{twice[1]}: {twice[2]}'"
    if nested := re.search(r"Could not override '\w+/(\w+)@", message):
        return f"{where}A choice of {nested[1]} in the defaults of a file: '- override /{nested[1]}: <name>'"
    unmatched = re.search(r"Could not override '([^']+)'", message)
    if unmatched is None:
        return message
    name = unmatched[1]
    if name in groups():
        return f"This verb has no choice of {name}: its keys are set one by one, {name}.<key>=...; --help lists them."
    if "@experiment" in name:
        return "The experiment's file has to begin with the line '# @package _global_'; its overrides go nowhere."
    return where + str(unknown_key(name, groups()))


_PLUGINS = ("hydra/launcher", "hydra/sweeper", "hydra/sweeper/sampler")


def _explain_plugin(group: str, wanted: str) -> str:
    extra = "ray" if wanted.startswith("ray") else "sweeps"
    return f"{group}={wanted} comes with a plugin that is not installed: pip install 'pkdn-lightning[{extra}]'"


def _explain_omegaconf(cause: OmegaConfBaseException, message: str) -> str:
    if missing := re.search(r"[Mm]issing mandatory value: ([\w.]+)", f"{cause.msg} {message}"):
        group, _, name = missing[1].partition(".")
        return f"{missing[1]} has no value. In your file below conf/{group}: '{name}: <value>'; or {missing[1]}=<value>"
    key: str = cause.full_key or str(cause.key or "")
    parent = cause.parent_node
    exists = parent is not None and cause.key in (parent.keys() if isinstance(parent, DictConfig) else ())
    if isinstance(parent, DictConfig) and not exists and cause.key is not None:
        prefix = key.rpartition(".")[0]
        known = [f"{prefix}.{name}" if prefix else name for name in map(str, parent)]
        return str(unknown_key(key, known, [] if prefix else list(_named(str(cause.key), parent))))
    wrong = str(cause.msg or message).splitlines()[0]
    if "is not a subclass of TermConfig" in wrong:
        if key.startswith("objective."):
            return f"{key}: expected a term of the objective; to set its weight: {key}.weight=1"
        return (
            f"objective.{key}: terms cannot be added on the command line. Add it in a file, conf/objective/mine.yaml "
            "in the current folder, that begins with 'defaults: [distillation, _self_]', and choose it: objective=mine"
        )
    if wrong.endswith("is not Optional"):
        off = f" {key}.weight=0 switches the term off." if re.fullmatch(r"objective\.\w+", key) else ""
        return f"{key}=null: a value is expected.{off}"
    if not key and "merge DictConfig with ListConfig" in wrong:
        return "the file holds a list; expected names with values, e.g. 'width: 16'"
    for pattern, said in _SAID.items():
        if found := re.fullmatch(pattern, wrong):
            return said.format_map(
                {"key": key} | {name: _WORDS.get(part, part) for name, part in found.groupdict().items()}
            )
    return wrong if not key or key in wrong else f"{key}: {wrong}"


def _named(name: str, section: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yields the keys of that last name in the sections of a section."""
    for key in map(str, section):
        each = section._get_node(key)
        if isinstance(each, DictConfig) and not (each._is_none() or each._is_missing() or each._is_interpolation()):
            if name in each:
                yield f"{prefix}{key}.{name}"
            yield from _named(name, each, f"{prefix}{key}.")


_SAID: Final = {  # instead of what OmegaConf says
    r"Value '(?P<value>.*?)' of type .*could not be converted to (?P<type>\w+)": "{key}={value}: expected {type}",
    r"Value '(?P<value>.*?)' is not a valid bool.*": "{key}={value}: expected true or false",
    r"Invalid type assigned: .* is not a subclass of (?P<type>\w+)\. value: (?P<value>.*)": (
        "{key}={value}: expected {type}"
    ),
    r".* is not a ListConfig, list or tuple\.": "{key}: expected a list, e.g. {key}=[1,2]",
    r"Cannot merge DictConfig with ListConfig|Cannot assign \w+ to Dict\[.*": (
        "{key}: expected names with values, e.g. {key}={{name: value}}"
    ),
    r".* does not support deletion": "{key} cannot be removed, only set: {key}=<value>",
}
_WORDS: Final = {
    "Integer": "a whole number",
    "Float": "a number",
    "Boolean": "true or false",
    "str": "text",
    "None": "null",
}


def fail(message: str) -> NoReturn:
    """Ends the program with a message."""
    sys.stderr.write(f"{message}\n")
    sys.exit(1)
