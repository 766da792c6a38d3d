"""Instantiates the classes that configurations name in `_target_`. No other module does.

Open mappings are checked against the signature of their class, so that a typo in `model.widht` gives the same error
message as one in a key of the schema.
"""

import contextlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config.keys import unknown_key
from pkdn_lightning.errors import ConfigError, PKDNError, cause, did_you_mean
from pkdn_lightning.trust import find, is_named_by_user, is_trusted, trust
from pkdn_lightning.values import check

if TYPE_CHECKING:
    from pkdn_lightning.networks.contract import SRNetwork


def make_partial(spec: Mapping[str, Any], where: str, provided: tuple[str, ...]) -> Callable[..., Any] | None:
    """Returns the class that `spec` names with its arguments bound, except the `provided` ones."""
    if not spec:
        return None
    target, arguments = _target(spec, where)
    # A scheduler without the parameter total_steps is called without it.
    accepted = [name for name in provided if name in inspect.signature(target).parameters]
    check_arguments(target, arguments, where)
    if "total_steps" in provided and "total_steps" not in accepted:
        return lambda optimizer, total_steps: target(optimizer, **arguments)
    return partial(target, **arguments)


def make(spec: Mapping[str, Any], where: str) -> Any:
    """Returns the object that `spec` describes.

    Raises:
        ConfigError: If its class cannot be found, or refuses the arguments.
    """
    target, arguments = _target(spec, where)
    check_arguments(target, arguments, where)
    with refusals(where):
        return instantiate({"_target_": spec["_target_"], **arguments}, _convert_="all")


@contextlib.contextmanager
def refusals(where: str) -> Iterator[None]:
    """Turns what a constructor raises because of its arguments into a `ConfigError`.

    Args:
        where: The part of the configuration that the arguments are from.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(cause, PKDNError | ImportError):
            raise cause from None  # its message says what is wrong
        refused = isinstance(cause, ValueError | TypeError | ArithmeticError | LookupError | RuntimeError)
        if not refused and type(cause).__name__ != "MisconfigurationException":  # Lightning's, not imported here
            raise
        reason = str(cause).strip().splitlines() or [type(cause).__name__]
        raise ConfigError(f"{where}: {reason[0]}") from error


def find_class(name: Any, where: str) -> Callable[..., Any]:
    """Returns the class or function that a configuration names.

    Args:
        name: Its full name.
        where: The part of the configuration that names it, for messages.

    Raises:
        ConfigError: If it is not trusted (see `pkdn_lightning.trust`) or cannot be found.
    """
    name = str(name)
    named_by_user = is_named_by_user(name)
    if not named_by_user and not is_trusted(name):
        raise _distrusted(name, where)
    try:
        found: Callable[..., Any] = find(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{where}._target_={name} cannot be found: {str(error).splitlines()[0]}.{_nearest(name)}\n"
            f"Modules are looked for where Python is installed and in the current folder, {Path.cwd()}."
        ) from error
    except Exception as error:  # the user's module, which can fail in any way while it is imported
        raise ConfigError(f"{where}._target_={name} cannot be imported: {cause(error)}") from error
    # A trusted module imports others, through which a name can lead anywhere: `...files.os.system`.
    if not named_by_user and not (inspect.isclass(found) and is_trusted(found.__module__)):
        raise _distrusted(name, where)
    return found


def _nearest(name: str) -> str:
    """Returns a suggestion of a class that the named module has."""
    module, _, wanted = name.rpartition(".")
    return did_you_mean(wanted, [each for each in dir(sys.modules.get(module)) if each[0] != "_"])


def trust_targets(cfg: DictConfig) -> None:
    """Trusts the classes that a composed configuration names: its files and the command line are the user's own."""
    trust(_targets(OmegaConf.to_container(cfg)))
    if degradation := OmegaConf.select(cfg, "data.degradation", default=None):
        trust([degradation])


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _distrusted(name: str, where: str) -> ConfigError:
    return ConfigError(
        f"{where}._target_={name} was not loaded: a configuration from a file may only name classes of this package, "
        "optimisers, callbacks and loggers.\n"
        "If you trust the file, work in the folder whose conf/ names the class, or in that of its module with "
        f"PKDN_TRUSTED={name.partition('.')[0]} pkdn ..."
    )


def _target(spec: Mapping[str, Any], where: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    plain: Any = OmegaConf.to_container(spec, resolve=True) if OmegaConf.is_config(spec) else dict(spec)
    name = plain.pop("_target_", None)
    if not name:
        raise ConfigError(f"'{where}' names no class: it has no _target_. Choose one with the group {where}=...")
    for nested in _targets(plain):
        find_class(nested, where)
    target = find_class(name, where)
    # Another class is merged with the arguments of the previous one; null removes an argument that it does not have.
    known, _ = _signature(target)
    return target, {key: value for key, value in plain.items() if value is not None or key in known}


def check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """Checks names, choices and plain types of arguments against a signature."""
    parameters, hints = _signature(target)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    foreign = [] if takes_any else [f"{where}.{key}" for key in arguments if key not in parameters]
    if foreign:
        unknown = unknown_key(foreign[0], [f"{where}.{each}" for each in parameters])
        name, removed = getattr(target, "__name__", target), " ".join(f"'~{key}'" for key in foreign)
        raise ConfigError(
            f"{unknown}\nThese are the arguments of {name}. To leave out what was set for another class: {removed}"
        )
    for key, value in arguments.items():
        if key in hints:
            check(f"{where}.{key}", value, hints[key])


def _signature(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Returns the parameters and type hints of a target.

    For a class of this package that passes `**options` to its base class, they include those of the base class.
    """
    try:
        parameters = dict(inspect.signature(target).parameters)
    except ValueError:  # some classes written in C do not say
        return {"arguments": inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)}, {}
    try:
        # For a class, the annotations of its constructor.
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError):
        hints = {}  # a library's annotations that cannot be resolved here
    base = target.__base__ if inspect.isclass(target) else None
    if "options" in parameters and base is not None and base.__module__.startswith("pkdn_lightning."):
        del parameters["options"]
        inherited, inherited_hints = _signature(base)
        parameters, hints = {**parameters, **inherited, **parameters}, {**inherited_hints, **hints}
    return parameters, hints


def build_network(model: Mapping[str, Any], where: str = "model") -> "SRNetwork":
    """Returns the untrained network that `model` describes; `where` names its part of the configuration."""
    from pkdn_lightning.networks.contract import SRNetwork  # torch, which configurations alone do not need

    net = make(model, where)
    if not isinstance(net, SRNetwork):
        raise ConfigError(
            f"model._target_={model['_target_']} is a {type(net).__name__}, not a network of face super-resolution.\n"
            f"Derive its class from {SRNetwork.__module__}.{SRNetwork.__name__}, which says what a network has to do."
        )
    return net
