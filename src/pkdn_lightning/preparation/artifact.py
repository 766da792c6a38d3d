"""A prepared store as a W&B artifact, by reference: W&B learns its hashes and its card, no face leaves this machine."""

import wandb

from pkdn_lightning.data.store import FaceStore
from pkdn_lightning.tracking.lineage import store_artifact


def log_artifact(store: FaceStore) -> None:
    """Logs a store as an artifact of type `dataset`, with references to its files instead of copies.

    Where W&B goes is W&B's own affair: `WANDB_MODE=offline` keeps everything here, `WANDB_PROJECT` names the project.
    """
    artifact = store_artifact(store)
    with wandb.init(job_type="prepare", name=f"prepare {store.name}", config=artifact.metadata) as run:
        run.log_artifact(artifact)
