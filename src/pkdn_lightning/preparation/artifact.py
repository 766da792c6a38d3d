"""A store as a W&B artifact, by reference: W&B learns its hashes and its card, and no face leaves this machine."""

import wandb

from pkdn_lightning.data.store import FaceStore


def log_artifact(store: FaceStore) -> None:
    """Logs a store as an artifact of type `dataset`, with references to its files instead of copies.

    Where W&B goes is W&B's own affair: `WANDB_MODE=offline` keeps everything here, `WANDB_PROJECT` names the project.
    """
    metadata = {
        "sha256": store.sha256,
        "splits": dict(store.manifest["splits"]),
        "rejected": dict(store.manifest.get("rejected", {})),
        **store.manifest["provenance"],
    }
    card = (store.path / "card.md").read_text(encoding="utf-8")
    with wandb.init(job_type="prepare", name=f"prepare {store.name}", config=metadata) as run:
        artifact = wandb.Artifact(f"store-{store.name}", type="dataset", description=card, metadata=metadata)
        for file in ("manifest.json", "index.csv", *store.manifest["sha256"]):
            if file not in artifact.manifest.entries:
                artifact.add_reference((store.path / file).resolve().as_uri(), name=file)
        run.log_artifact(artifact)
