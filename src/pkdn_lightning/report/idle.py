"""Settings of a run that nothing reads, told from its configuration alone: no network and no loss is made."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pkdn_lightning import losses
from pkdn_lightning.config.idle_keys import idle_keys
from pkdn_lightning.losses import LossTerm
from pkdn_lightning.report.methods import class_name
from pkdn_lightning.report.run_config import known_network

_PRIORS: Final = ("parsing", "heatmaps")


def idle(config: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Returns the keys that have no effect, with all below them; see `config.idle_keys`.

    Args:
        config: The resolved configuration of a run.
        teacher: The network it learned from, empty if unknown; None without a teacher.
    """
    terms = [term["term"] for term in config["objective"].values() if term["weight"]]
    found = idle_keys(
        config,
        taught=teacher is not None,
        reads_maps=_reads_maps(config["model"]),
        teacher_reads_maps=teacher is not None and _reads_maps(teacher),
        reads_features=any(map(_reads_features, terms)),
        priors={prior for term in terms for prior in _priors(term)},
    )
    return tuple(found)


def _reads_maps(network: Mapping[str, Any]) -> bool:
    known = known_network(network) if network else None
    return known is None or known.uses_parsing


def _reads_features(term: Mapping[str, Any]) -> bool:
    known = _known_term(term)
    return known is None or (known.needs_teacher and known.teacher_features)


def _priors(term: Mapping[str, Any]) -> Iterator[str]:
    known = _known_term(term)
    if known is None:
        yield from _PRIORS
    elif "prior" in term:  # an argument of the term
        yield str(term["prior"])
    else:
        yield from known.priors


def _known_term(term: Mapping[str, Any]) -> type[LossTerm] | None:
    """Returns the class of a term of this package; None for others, of which is assumed that they read everything."""
    target = str(term.get("_target_"))
    found = getattr(losses, class_name(target), None) if target.startswith(f"{losses.__name__}.") else None
    return found if isinstance(found, type) and issubclass(found, LossTerm) else None
