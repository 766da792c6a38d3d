"""The model card of a network, filled from the record of its run; missing details are marked as not recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf

from pkdn_lightning.files import read_json
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.models.checkpoints import LoadedNetwork
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.runs import RunFolder

_TEMPLATE: Final = Path(__file__).with_name("model_card.md.j2")


def model_card(model: LoadedNetwork) -> str:
    """Returns the card of a network as Markdown, with front matter for the Hugging Face hub."""
    from huggingface_hub import ModelCard, ModelCardData

    run = RunFolder(model.path.parent.parent)
    in_run = model.path.parent == run.checkpoints and run.config.is_file()
    results = run.read_results() if in_run else {}
    store = _manifest(run, model.card) if in_run else {}
    name, spec = type(model.net).__name__, model.card["network"].items()
    metrics = {key: value for key, value in results.get("metrics", {}).items() if "/psnr" in key or "/ssim" in key}
    card = ModelCard.from_template(
        ModelCardData(
            library_name="pkdn-lightning",
            pipeline_tag="image-to-image",
            license="other",  # the code is Apache-2.0, but the terms of the training faces apply to the weights
            license_name="terms-of-the-training-data",
            tags=["face-super-resolution", "super-resolution", "pytorch"],
        ),
        template_path=str(_TEMPLATE),
        title=model.card.get("experiment") or name,
        card=model.card,
        network=f"{name}({', '.join(f'{key}={value}' for key, value in spec if key != '_target_')})",
        params=count_parameters(model.net),
        uses_parsing=model.net.uses_parsing,
        sha256=model.sha256,
        splits=store.get("splits", {}),
        source=store.get("provenance", {}),
        terms=("licence", "terms", "homepage", "cite"),
        results=results,
        metrics=sorted(metrics.items()),
        border_px=HEADLINE.border_px,
    )
    return f"{card}\n"


def _manifest(run: RunFolder, card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest of a run's store; empty if the store is gone or now holds other data."""
    try:
        store = str(OmegaConf.select(OmegaConf.load(run.config), "data.store"))
    except (OSError, ValueError):
        return {}
    manifest = read_json(Path(store, "manifest.json"))
    return manifest if manifest.get("name") == (card.get("data") or {}).get("name") else {}
