"""Publishes trained models: a folder of safetensors, card and model card, uploaded to the Hugging Face hub."""

import tempfile
from pathlib import Path

from pkdn_lightning.errors import CheckpointError
from pkdn_lightning.files import write_text
from pkdn_lightning.models.checkpoints import load_model, load_network
from pkdn_lightning.models.model_card import model_card, with_provenance
from pkdn_lightning.models.pretrained import WEIGHTS, write_pretrained

README = "README.md"

from_pretrained = load_model
"""`load_model`, under its usual name in Hugging Face libraries."""


def save_pretrained(model: str | Path, folder: str | Path) -> Path:
    """Writes a trained model as safetensors, JSON and a model card; `load_model(folder)` reads it.

    Args:
        model: A run folder, a checkpoint, a hub id, ...; see `load_model`.
        folder: Target folder; created if missing.

    Returns:
        The weights file.

    Raises:
        CheckpointError: If the model cannot be loaded, or the folder already holds weights.
    """
    loaded = with_provenance(load_network(model))
    file = write_pretrained(folder, loaded.card, loaded.net.state_dict())
    readme, given = Path(folder, README), loaded.path.with_name(README)
    if not readme.exists():  # an existing one is kept
        # An exported model's own card has the details of its run, which are recorded nowhere else.
        is_folder = given.is_file() and loaded.path.name == WEIGHTS
        write_text(readme, given.read_text("utf-8") if is_folder else model_card(loaded))
    return file


def push_to_hub(model: str | Path, repo: str, *, private: bool = True, token: str | None = None) -> str:
    """Uploads a trained model with its model card, and returns the URL of its page.

    The terms of the training faces apply to the weights: check them before you make a model public.

    Args:
        model: See `load_model`. A folder that `save_pretrained` wrote is uploaded as it is, including your edits;
            for other models such a folder is made first.
        repo: `owner/name`; created if missing.
        private: Whether a new repository is visible to its owner only.
        token: Access token; None for the one that `hf auth login` stored.

    Raises:
        CheckpointError: If the model cannot be loaded, or the hub refuses it or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    with tempfile.TemporaryDirectory() as made:
        ready = Path(model, README).is_file() and load_network(model).path.parent == Path(model)
        if not ready:
            save_pretrained(model, made)
        api = HfApi(token=token)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo, folder_path=model if ready else made, commit_message="Add the model")
        except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"The hub rejected '{repo}': {reason}\nLog in with `hf auth login`; a name is owner/name."
            ) from error
    return f"{api.endpoint}/{repo}"
