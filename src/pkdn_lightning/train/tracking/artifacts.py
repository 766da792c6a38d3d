"""What a run was made from and what it makes, as W&B artifacts by reference.

W&B learns hashes and cards; no face and no weight leaves this machine. An artifact's version is decided by what its
files hold, so the store that was prepared and the store that a run reads, and the checkpoint that a teacher's run made
and the one that a student's run reads, meet in one version wherever they are named.
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
    """Returns a name with what W&B does not allow in one replaced."""
    return re.sub(r"[^\w.-]+", "-", name)[:128]
