"""Face super-resolution with prior knowledge distillation (PKDN).

`load_model`, also named `from_pretrained`, loads a trained network; `save_pretrained` and `push_to_hub` publish one;
`compose` returns a configuration; networks of your own derive from `SRNetwork` and return an `SROutput`.
Everything else is a verb (`pkdn train`, `pkdn predict`, ...) or a subpackage. Importing this package does not import
torch.
"""

import sys
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pkdn_lightning.config import compose
    from pkdn_lightning.models.checkpoints import load_model
    from pkdn_lightning.models.hub import from_pretrained, push_to_hub, save_pretrained
    from pkdn_lightning.networks.contract import SRNetwork, SROutput

__version__ = "0.1.0"
__all__ = [
    "SRNetwork",
    "SROutput",
    "__version__",
    "compose",
    "from_pretrained",
    "load_model",
    "push_to_hub",
    "save_pretrained",
]

_HOMES = {
    "compose": "config",
    "load_model": "models.checkpoints",
    **dict.fromkeys(("from_pretrained", "push_to_hub", "save_pretrained"), "models.hub"),
    **dict.fromkeys(("SRNetwork", "SROutput"), "networks.contract"),
}


def __getattr__(name: str) -> object:
    # PEP 562: these import torch, which takes seconds; `pkdn --help` must not wait for it.
    if name in _HOMES:
        return getattr(import_module(f"pkdn_lightning.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _say_stopped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Stopped by the keyboard.\n")
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"] and any(each.startswith("pkdn_lightning.") for each in sys.orig_argv):
    sys.excepthook = _say_stopped  # `python -m` imports a verb for seconds before it handles Ctrl-C

if not (Path(__file__).parent / "conf").is_dir():  # a checkout: `pkdn_lightning.conf` lies beside `src`
    __path__.append(str(Path(__file__).resolve().parents[2]))
