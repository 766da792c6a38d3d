"""Data at every step: the store, and batches made from it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pkdn_lightning.data.datamodule import FaceSRDataModule

__all__ = ["FaceSRDataModule"]


def __getattr__(name: str) -> object:
    # Stores and drawn faces need NumPy only; the DataModule brings Lightning, which takes seconds to import.
    if name == "FaceSRDataModule":
        from pkdn_lightning.data.datamodule import FaceSRDataModule

        return FaceSRDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
