"""Face super-resolution with prior knowledge distillation (PKDN).

`load_model` is the door for using a trained network; everything else is a verb (`pkdn train`, `pkdn evaluate`, ...)
or a subpackage. Importing this package does not import torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pkdn_lightning.checkpoints import load_model

__version__ = "0.1.0"
__all__ = ["__version__", "load_model"]


def __getattr__(name: str) -> object:
    # PEP 562: `load_model` needs torch, which takes seconds to import; `pkdn --help` must not wait for it.
    if name == "load_model":
        from pkdn_lightning.checkpoints import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
