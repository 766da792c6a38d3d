"""The verb `prepare`: faces on disk become a store; a store is verified.

pkdn prepare data=folder data.source.path=~/faces data.name=mine
pkdn prepare verify=stores/mine
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.data.store import FaceStore


def prepare(cfg: "DictConfig") -> "FaceStore":
    """Makes the store that `cfg` describes, or verifies the one it names, and returns it.

    Args:
        cfg: A configuration as `compose("prepare", ...)` returns it.

    Raises:
        DataError: If faces cannot be used, or a store is damaged; the message names them.
    """
    from rich.console import Console

    from pkdn_lightning.config.build import build_source
    from pkdn_lightning.data.store import FaceStore, verify_store
    from pkdn_lightning.preparation.pipeline import prepare_store

    console = Console(soft_wrap=True)
    if cfg.verify:
        verify_store(cfg.verify)
        store = FaceStore.open(cfg.verify)
        console.print(f"{cfg.verify} is whole: {_describe(store)}.")
        return store
    path = Path(cfg.out or cfg.data.store)
    store = prepare_store(build_source(cfg.data), path, name=cfg.data.name)
    console.print(f"Store [bold]{path}[/]: {_describe(store)}.")
    if store.parsing is None:
        console.print("It has no parsing maps, so it trains students without a teacher: objective=reconstruction.")
    return store


def _describe(store: "FaceStore") -> str:
    counts = ", ".join(f"{split} {count:,}" for split, count in store.manifest["splits"].items())
    maps = "with" if store.parsing is not None else "without"
    return f"{counts} faces of {store.size_px} px {maps} parsing maps, SHA-256 {store.sha256[:12]}"


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("prepare", _task)


def _task(cfg: "DictConfig") -> Any:
    prepare(cfg)


if __name__ == "__main__":
    main()
