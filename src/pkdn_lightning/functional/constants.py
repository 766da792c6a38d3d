"""Constant tensors: made once per device, because moving one to a GPU makes the host wait for it."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


@lru_cache(maxsize=512)
def made(make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Returns `make(*args, **kwargs)`, made once."""
    return make(*args, **kwargs)


def constant(make: Callable[P, T]) -> Callable[P, T]:
    """Decorates a function of hashable arguments whose tensors never change, to make them once.

    Not while compiling, when tensors are fake.
    """

    @wraps(make)
    def get(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            return make(*args, **kwargs)
        with torch.inference_mode(False):  # inference tensors, first used in validation, would fail in training
            return made(make, *args, **kwargs)  # type: ignore[arg-type]  # a device and a dtype are hashable

    return get
