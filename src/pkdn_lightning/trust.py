"""Which classes a configuration or a file may name, and how the user's own ones are found.

The user's folder is the current one. Its `conf/`, if there is one, is part of the Hydra tree, and its modules can be
imported if the user names a class of them: on the command line, in a configuration composed here, or in `conf/`. What a
run folder or a checkpoint names is not the user's word, since whoever made the file could name any function of any
library there. Only classes of this package, optimisers, callbacks and loggers are made from it, those that the user
names, too, and those of packages in the environment variable PKDN_TRUSTED, e.g. `mypackage,other.networks`.
"""

import os
import re
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_TRUSTED: Final = ("pkdn_lightning", "torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers")
DOTTED_NAME: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
"""A full name: module.Class or module.function."""
_NAMING: Final = re.compile(r"""(?:_target_|degradation)["']?:\s*["']?([\w.]+)""")
_named_by_user: Final[set[str]] = set()


def conf_dir() -> Path:
    """Returns the folder of the Hydra tree: inside the installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def own_conf() -> Path | None:
    """Returns the `conf/` of the current folder; None if there is none, or it is the package's."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own.resolve() != conf_dir() else None


def trust(names: Iterable[str]) -> None:
    """Trusts classes and functions by their full names, because the user named them."""
    _named_by_user.update(names)


def is_named_by_user(name: str) -> bool:
    """Returns whether the user named a class or function, in a composed configuration or in the own `conf/`."""
    return name in _named_by_user or name in _named_in_own_conf()


def is_trusted(name: str) -> bool:
    """Returns whether a file may name this class or the module of this class."""
    return _is_within(name, (*_TRUSTED, *_trusted_by_environment()))


def find(name: str) -> Any:
    """Returns what a full name stands for; modules of the current folder are found if the user named it or trusts it.

    Call it for trusted names only: importing a module runs it.

    Raises:
        ImportError: If there is no such module, or it cannot be imported.
        AttributeError: If the module has no such name.
    """
    here = str(Path.cwd())
    by_user = is_named_by_user(name) or _is_within(name, _trusted_by_environment())
    if by_user and not {here, ""} & set(sys.path):
        sys.path.append(here)  # last, so that no file of the folder replaces an installed package
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            if length > 1 and error.name and f"{module}.".startswith(f"{error.name}."):
                continue  # the last part may be a class that holds this one
            raise
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ImportError(f"'{name}' names no module: expected module.Class")


def _trusted_by_environment() -> tuple[str, ...]:
    return tuple(filter(None, os.environ.get("PKDN_TRUSTED", "").split(",")))


def _is_within(name: str, roots: Iterable[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _named_in_own_conf() -> set[str]:
    own = own_conf()
    files = own.glob("*/**/*.yaml") if own else ()
    texts = (file.read_text("utf-8", errors="replace") for file in files)
    return {name for text in texts for name in _NAMING.findall(text)}
