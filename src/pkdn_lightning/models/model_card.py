"""The model card: what somebody who finds the weights has to know, filled from the run that made them.

Nothing is claimed that the run did not record; what is not known is said to be not known.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf

from pkdn_lightning.metrics import HEADLINE
from pkdn_lightning.models.checkpoints import LoadedNetwork
from pkdn_lightning.networks.cost import count_parameters
from pkdn_lightning.runs import RunFolder

_TERMS: Final = ("licence", "terms", "homepage", "cite")


def model_card(model: LoadedNetwork) -> str:
    """Returns the card of a network, as Markdown with the front matter that the Hugging Face hub reads."""
    run = _run_of(model.path)
    results = run.read_results() if run else {}
    data = _data(model.card, run)
    lines = [
        *_front_matter(),
        f"# {model.card.get('experiment') or type(model.net).__name__}",
        "",
        *_what(model),
        *_use(model),
        *_trained_on(model.card, data, results),
        *_measured(results),
        *_LIMITS,
        *_terms(data),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _run_of(file: Path) -> RunFolder | None:
    run = RunFolder(file.parent.parent)
    return run if file.parent.name == run.checkpoints.name and run.config.is_file() else None


def _data(card: Mapping[str, Any], run: RunFolder | None) -> dict[str, Any]:
    """Returns the manifest of the store the network was trained on, if it is still there and still the same data."""
    if run is None:
        return {}
    try:
        store = OmegaConf.select(OmegaConf.load(run.config), "data.store")
        manifest = json.loads(Path(str(store), "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return manifest if manifest.get("name") == (card.get("data") or {}).get("name") else {}


def _front_matter() -> Iterator[str]:
    # `other`: the code is Apache-2.0, but weights made from faces go by the terms of the faces.
    yield from ("---", "library_name: pkdn-lightning", "pipeline_tag: image-to-image", "license: other")
    yield from ("license_name: terms-of-the-training-data", "tags:", "- face-super-resolution", "- super-resolution")
    yield from ("- pytorch", "---", "")


def _what(model: LoadedNetwork) -> Iterator[str]:
    card, scale = model.card, model.card["scale"]
    spec = ", ".join(f"{key}={value}" for key, value in card["network"].items() if key != "_target_")
    yield f"Face super-resolution x{scale}: `{type(model.net).__name__}({spec})`, {count_parameters(model.net):,} "
    yield "parameters, made with [pkdn-lightning](https://github.com/pkdn-lightning/pkdn-lightning), the suite around "
    yield "[PKDN](https://arxiv.org/abs/2409.14385)."
    yield ""
    yield "- Input: RGB faces in [0, 1], (B, 3, H, W), upright, the face filling the square as in the training crops;"
    yield f"  LR is HR reduced by antialiased bicubic (`{card['degradation']}`), rounded to 8 bits."
    if model.net.uses_parsing:
        yield f"- Second input: the parsing map of the face in the encoding `{card['encoding']}`, at the output's size."
    yield f"- Output: RGB, {scale} times as high and wide, nominally in [0, 1], not clamped."
    yield f"- SHA-256 of the weights it was made from: `{model.sha256}`"
    yield ""


def _use(model: LoadedNetwork) -> Iterator[str]:
    reads_parsing = model.net.uses_parsing
    yield from ("## Use", "")
    if not reads_parsing:
        yield from (
            "```bash",
            "pkdn predict model=<this folder or owner/name> input=photos/ output=restored/",
            "```",
            "",
        )
    yield from ("```python", "from pkdn_lightning import load_model", "")
    arguments = "lr, parsing" if reads_parsing else "lr"
    yield 'net = load_model("<this folder or owner/name>")'
    yield f"sr = net({arguments}).sr"
    yield from ("```", "")


def _trained_on(card: Mapping[str, Any], data: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Training", "")
    store = card.get("data")
    if store:
        yield f"- Data: {store['name']}, store SHA-256 `{store['sha256'][:16]}`" + _counts(data)
    else:
        yield "- Data: not recorded with these weights."
    for key, value in data.get("provenance", {}).items():
        if key not in _TERMS and value is not None:
            yield f"- {key.replace('_', ' ')}: {value}"
    if results:
        yield f"- {results.get('steps', 0):,} steps, seed {results.get('seed')}, {results.get('wall_s', 0):,.0f} s"
        yield f"- Command: `{results.get('command')}`"
        git = results.get("git")
        yield f"- Code: {git['commit'] if git else 'an installed package'}, {_versions(results)}"
        teacher = results.get("teacher")
        if teacher:
            yield f"- Distilled from a teacher with the SHA-256 `{teacher['sha256'][:16]}`"
    yield ""


def _counts(data: Mapping[str, Any]) -> str:
    return "".join(f", {split} {count:,}" for split, count in data.get("splits", {}).items())


def _versions(results: Mapping[str, Any]) -> str:
    versions = results.get("versions", {})
    return ", ".join(f"{name} {versions[name]}" for name in ("pkdn-lightning", "torch") if versions.get(name))


def _measured(results: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Measured", "")
    metrics = {name: value for name, value in results.get("metrics", {}).items() if "/psnr" in name or "/ssim" in name}
    if not metrics:
        yield "Nothing is recorded. Measure it: `pkdn evaluate data=<name> models.it=<this folder>`"
        yield ""
        return
    yield "| split, set, measure | value |"
    yield "|---|---:|"
    for name, value in sorted(metrics.items()):
        yield f"| {name} | {value:.4f} |"
    yield ""
    yield f"Protocol: 8-bit SR and HR, BT.601 luma, {HEADLINE.border_px} border pixels dropped, PSNR averaged over "
    yield "images, SSIM with an 11x11 Gaussian window. Again: `pkdn evaluate data=<name> models.it=<this folder>`"
    yield ""


_LIMITS: Final = (
    "## Limits and intended use",
    "",
    "For research on face super-resolution and for looking at old or small images. A restored face is a likely one,",
    "not the true one: from so few pixels nobody's identity can be recovered. It must not be used to recognise or",
    "accuse anybody, nor as evidence. Faces unlike the training data (pose, age, skin, glasses, blur, noise,",
    "compression) come out worse, and which ones do mirrors who was in that data.",
    "",
)


def _terms(data: Mapping[str, Any]) -> Iterator[str]:
    made = data.get("provenance", {})
    known = [key for key in _TERMS if made.get(key)]
    yield from ("## Terms", "")
    yield "The code is Apache-2.0. The weights were made from faces and go by the terms of these:"
    yield ""
    yield from (f"- {key}: {made[key]}" for key in known)
    if not known:
        yield "- not recorded with the data. Ask its publisher before you pass the weights on; most sets of faces are "
        yield "  for non-commercial research only."
    yield ""
