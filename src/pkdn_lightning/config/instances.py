"""Instantiates the classes that configurations name in `_target_`. No other module does.

Open mappings are checked against the signature of their class, so that a typo in `model.widht` gives the same error
message as one in a key of the schema.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from pkdn_lightning.errors import ConfigError, PKDNError, did_you_mean

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
    """Returns the object that `spec` describes."""
    target, arguments = _target(spec, where)
    check_arguments(target, arguments, where)
    try:
        return instantiate({"_target_": spec["_target_"], **arguments}, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, PKDNError):
            raise error.__cause__ from None  # its message says what is wrong
        raise


def _target(spec: Mapping[str, Any], where: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    plain: Any = OmegaConf.to_container(spec, resolve=True) if OmegaConf.is_config(spec) else dict(spec)
    name = plain.pop("_target_", None)
    if not name:
        raise ConfigError(f"'{where}' names no class: it has no _target_. Choose one with the group {where}=...")
    try:
        target = get_object(name)
    except (HydraException, ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{where}._target_={name} cannot be found: {error}.") from error
    # Another class is merged with the arguments of the previous one; null removes an argument that it does not have.
    known, _ = _signature(target)
    return target, {key: value for key, value in plain.items() if value is not None or key in known}


def check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """Checks names, choices and plain types of arguments against a signature."""
    parameters, hints = _signature(target)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for key in arguments:
            if key not in parameters:
                hint = did_you_mean(key, parameters)
                raise ConfigError(f"Unknown key '{where}.{key}'.{hint}\nKeys there: {', '.join(parameters)}")
    for key, value in arguments.items():
        if key in hints:
            _check_type(f"{where}.{key}", value, hints[key])


def _signature(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Returns the parameters and type hints of a target.

    For a class of this package that passes `**options` to its base class, they include those of the base class.
    """
    parameters = dict(inspect.signature(target).parameters)
    try:
        # For a class, the annotations of its constructor.
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):
        hints = {}  # a library's annotations that cannot be resolved here
    base = target.__base__ if inspect.isclass(target) else None
    if "options" in parameters and base is not None and base.__module__.startswith("pkdn_lightning."):
        del parameters["options"]
        inherited, inherited_hints = _signature(base)
        parameters, hints = {**parameters, **inherited, **parameters}, {**inherited_hints, **hints}
    return parameters, hints


def _check_type(key: str, value: Any, hint: Any) -> None:
    if isinstance(hint, types.UnionType) and types.NoneType in (options := typing.get_args(hint)):
        rest = [option for option in options if option is not types.NoneType]
        if value is not None and len(rest) == 1:
            _check_type(key, value, rest[0])
        return
    if typing.get_origin(hint) is Literal:
        check_choice(key, value, typing.get_args(hint))
        return
    accepts: dict[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str, Path)}
    if hint in accepts and (not isinstance(value, accepts[hint]) or (isinstance(value, bool) and hint is not bool)):
        raise ConfigError(f"{key}={value!r} is of type {type(value).__name__}; expected {hint.__name__}.")


def check_choice(key: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Checks that a value is one of those it can be."""
    if value not in choices:
        hint = did_you_mean(str(value), map(str, choices))
        raise ConfigError(f"{key}={value!r} is none of {', '.join(map(str, choices))}.{hint}")


def build_network(model: Mapping[str, Any]) -> "SRNetwork":
    """Returns the untrained network that `model` describes."""
    from pkdn_lightning.networks.contract import SRNetwork  # torch, which configurations alone do not need

    net = make(model, "model")
    if not isinstance(net, SRNetwork):
        raise ConfigError(
            f"model._target_={model['_target_']} is a {type(net).__name__}, not a network of face super-resolution.\n"
            f"Derive its class from {SRNetwork.__module__}.{SRNetwork.__name__}, which says what a network has to do."
        )
    return net
