"""Inputs and outputs of a run as W&B artifacts by reference.

W&B receives hashes and cards; no face and no weight leaves this machine. The version of an artifact follows from the
content of its files, so a teacher's checkpoint is the same version in its own run and in its student's.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pkdn_lightning.data.store import FaceStore

if TYPE_CHECKING:
    import wandb


def store_artifact(store: FaceStore) -> "wandb.Artifact":
    """Returns a store as an artifact of type `dataset`: its hashes, its card, and references to its files."""
    import wandb

    metadata = {
        "sha256": store.sha256,
        "splits": dict(store.manifest["splits"]),
        "rejected": dict(store.manifest.get("rejected", {})),
        **store.manifest["provenance"],
    }
    card = store.path / "card.md"
    description = card.read_text(encoding="utf-8") if card.is_file() else ""
    artifact = wandb.Artifact(f"store-{_allowed(store.name)}", "dataset", description=description, metadata=metadata)
    for file in dict.fromkeys(("manifest.json", "index.csv", *store.manifest["sha256"])):
        artifact.add_reference((store.path / file).resolve().as_uri(), name=file)
    return artifact


def checkpoint_artifact(file: Path, experiment: str, **metadata: Any) -> "wandb.Artifact":
    """Returns a checkpoint as an artifact of type `model`, named as the experiment that made it.

    Args:
        file: The checkpoint.
        experiment: Name of the experiment.
        **metadata: What is known about it.
    """
    import wandb

    artifact = wandb.Artifact(_allowed(experiment), "model", metadata={**metadata, "path": str(file.resolve())})
    artifact.add_reference(file.resolve().as_uri(), name=file.name)
    return artifact


def _allowed(name: str) -> str:
    """Returns a name with the characters replaced that W&B does not allow."""
    return re.sub(r"[^\w.-]+", "-", name)[:128]
