"""The store format, and the batches made from it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pkdn_lightning.data.datamodule import FaceSRDataModule

__all__ = ["FaceSRDataModule"]


def __getattr__(name: str) -> object:
    # Imported on first use: Lightning takes seconds to import, and stores need NumPy only.
    if name == "FaceSRDataModule":
        from pkdn_lightning.data.datamodule import FaceSRDataModule

        return FaceSRDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
