"""The model card of a network, filled from what is recorded of its training; missing details are marked as such."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf

from pkdn_lightning.data.degradation import describe
from pkdn_lightning.file_schema import fault
from pkdn_lightning.files import read_json
from pkdn_lightning.markdown import code, plain
from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.models.checkpoints import LoadedNetwork
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.runs import RunFolder

_TEMPLATE: Final = Path(__file__).with_name("model_card.md.j2")
_RECORD: Final[Mapping[str, Any]] = {
    "weights_sha256?": str,
    "license?": str,
    "splits?": {str: int},
    "source?": dict,
    "results?": {
        "steps?": int, "seed?": int, "wall_s?": float, "command?": str, "git?": ({"commit": str}, None),
        "versions?": dict, "teacher?": ({"sha256": str}, None), "metrics?": {str: float},
    },
}  # fmt: skip
"""The schema of the record of a training, which a card holds as `provenance`; see `file_schema`."""


def with_provenance(model: LoadedNetwork) -> LoadedNetwork:
    """Returns a network whose card holds the record of its training, as far as it is known: `provenance`.

    The record is read from the network's run folder, or kept if the card has it already. With it, a file that is
    passed on says where its weights come from.
    """
    run = RunFolder(model.path.parent.parent)
    if model.card.get("provenance") or model.path.parent != run.checkpoints or not run.config.is_file():
        return model
    results, store = run.read_results(), _manifest(run, model.card)
    results = {key: results[key] for key in map(_bare, _RECORD["results?"]) if key in results}
    record = {"weights_sha256": model.sha256, "results": results}
    record |= {"splits": store.get("splits", {}), "source": store.get("provenance", {})}
    return model._replace(card={**model.card, "provenance": record}) if fault(record, _RECORD) is None else model


def model_card(model: LoadedNetwork) -> str:
    """Returns the card of a network as Markdown, with front matter for the Hugging Face hub."""
    from huggingface_hub import ModelCard, ModelCardData

    record = with_provenance(model).card.get("provenance") or {}
    record = record if fault(record, _RECORD) is None else {}
    results = record.get("results", {})
    name, spec = type(model.net).__name__, model.card["network"].items()
    metrics = {key: value for key, value in results.get("metrics", {}).items() if "/psnr" in key or "/ssim" in key}
    terms = {"license": record["license"]} if "license" in record else _TERMS_OF_DATA
    card = ModelCard.from_template(
        ModelCardData(
            library_name="pkdn-lightning",
            pipeline_tag="image-to-image",
            tags=["face-super-resolution", "super-resolution", "pytorch"],
            **terms,
        ),
        template_path=str(_TEMPLATE),
        title=model.card.get("experiment") or name,
        card=model.card,
        degradation=describe(model.card),
        network=f"{name}({', '.join(f'{key}={value}' for key, value in spec if key != '_target_')})",
        params=count_parameters(model.net),
        uses_parsing=model.net.uses_parsing,
        sha256=record.get("weights_sha256", model.sha256),
        splits=record.get("splits", {}),
        source=record.get("source", {}),
        terms=("licence", "terms", "homepage", "cite"),
        results=results,
        metrics=sorted(metrics.items()),
        border_px=HEADLINE.border_px,
        plain=plain,
        code=code,
    )
    return f"{card}\n"


def _bare(key: str) -> str:
    return key.removesuffix("?")


_TERMS_OF_DATA: Final = {
    "license": "other",  # the code is Apache-2.0, but the terms of the training faces apply to the weights
    "license_name": "terms-of-the-training-data",
}


def _manifest(run: RunFolder, card: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest of a run's store; empty if the store is gone or now holds other data."""
    try:
        store = str(OmegaConf.select(OmegaConf.load(run.config), "data.store"))
    except Exception:  # a damaged configuration only costs the card some lines
        return {}
    manifest = read_json(Path(store, "manifest.json"))
    return manifest if manifest.get("name") == (card.get("data") or {}).get("name") else {}
