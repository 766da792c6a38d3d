"""Keys of a training's configuration that nothing reads, because of the values of others."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from pkdn_lightning.data.strengths import ROUNDS

_WITH_EXTENT: Final = ("displaced", "blurred")
_SWITCHES: Final = {
    ("ffb", False): ("ffb_skip", "ffb_first", "ffb_source"),
    ("pfb", False): ("pfbs_per_level", "channel_attention", "spatial_attention"),
    ("pfb", True): ("rcabs_per_level",),
}
"""Arguments of PKDN's networks that a switch puts out of use."""
_OURS, _PKDN = "pkdn_lightning.", "pkdn_lightning.networks.pkdn."

_Reasons = Iterator[tuple[str, tuple[str, ...]]]
"""Reasons, and the keys that have no effect for it."""


def idle_keys(
    config: Mapping[str, Any],
    *,
    taught: bool = True,
    reads_maps: bool = True,
    teacher_reads_maps: bool = True,
    reads_features: bool = True,
    priors: Collection[str] = ("parsing", "heatmaps"),
) -> dict[str, str]:
    """Returns why keys, with all below them, have no effect, by key.

    Args:
        config: The training's configuration.
        taught: Whether the objective has a teacher.
        reads_maps: Whether the network itself reads parsing maps.
        teacher_reads_maps: Whether its teacher does.
        reads_features: Whether a term of the objective reads features.
        priors: The priors that terms of the objective read.
    """
    found: dict[str, str] = {}
    groups = (
        _of_data(config["data"], reads_maps or teacher_reads_maps, _priors(config["model"], priors)),
        _of_teacher(config["teacher"], taught, reads_maps),
        _of_module(config["module"], reads_features),
        *(_of_term(name, term) for name, term in config["objective"].items()),
        _of_network("model", config["model"]),
        _of_network("teacher.model", config["teacher"]["model"] or {}),
        _of_trainer(config["trainer"]),
    )
    for group in groups:
        for reason, keys in group:
            found |= {key: reason for key in keys if key not in found}
    return found


def _of_data(data: Mapping[str, Any], reads_maps: bool, priors: Collection[str]) -> _Reasons:
    if data["degradation"] not in ROUNDS:
        yield "it is for degradation=blind and blind2", ("data.blind",)
    if not reads_maps:
        yield "no network reads parsing maps", ("data.parsing_dropout",)
        if "parsing" not in priors:
            yield "no network reads parsing maps", ("data.parsing_damage", "data.parsing_damage_px")
    if data["parsing_damage"] not in _WITH_EXTENT:
        yield f"it is for data.parsing_damage={' and '.join(_WITH_EXTENT)}", ("data.parsing_damage_px",)
    if "heatmaps" not in priors:
        yield "no term of the objective reads heatmaps", ("data.heatmaps", "data.heatmap_px")


def _of_teacher(teacher: Mapping[str, Any], taught: bool, reads_maps: bool) -> _Reasons:
    if not taught:
        yield "the objective has no teacher", ("teacher",)
    elif teacher["checkpoint"] not in ("auto", "none"):
        trained = (
            f"teacher.{key}" for key in ("model", "seed", "lr", "max_steps", "max_epochs", "method", "experiment")
        )
        of_its_data = () if reads_maps else ("data.parsing_dropout",)
        yield f"{teacher['checkpoint']} is trained already", (*trained, *of_its_data)


def _of_module(module: Mapping[str, Any], reads_features: bool) -> _Reasons:
    if not module["discriminator"]:
        yield "there is no discriminator", ("module.adversarial_weight", "module.gate")
    if not reads_features:
        yield "no term of the objective reads features", ("module.features", "teacher.features")


def _of_term(name: str, term: Mapping[str, Any]) -> _Reasons:
    place = f"objective.{name}"
    if not term["weight"]:
        others = ("schedule", "duration", "unit", "start", "term")
        yield f"{place}.weight=0", tuple(f"{place}.{key}" for key in others)
    elif term["schedule"] == "constant":
        unit = () if term["start"] else (f"{place}.unit",)
        yield f"{place}.schedule=constant", (f"{place}.duration", *unit)


def _of_network(place: str, model: Mapping[str, Any]) -> _Reasons:
    for (switch, value), arguments in _SWITCHES.items():
        if str(model.get("_target_")).startswith(_PKDN) and model.get(switch) is value:
            yield f"{place}.{switch}={str(value).lower()}", tuple(f"{place}.{each}" for each in arguments)


def _of_trainer(trainer: Mapping[str, Any]) -> _Reasons:
    if trainer["gradient_clip_val"] is None:
        yield "trainer.gradient_clip_val=null", ("trainer.gradient_clip_algorithm",)


def _priors(model: Mapping[str, Any], of_terms: Collection[str]) -> Collection[str]:
    """Returns the priors that are read; networks of others may read any."""
    return of_terms if str(model["_target_"]).startswith(_OURS) else ("parsing", "heatmaps")
