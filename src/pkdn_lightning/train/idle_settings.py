"""Typed settings that have no effect on the run they were typed for."""

from collections.abc import Iterator, Sequence
from typing import Final

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from pkdn_lightning.config.training_keys import within
from pkdn_lightning.data.strengths import ROUNDS

_BLIND: Final = ("data.blind",)
_TEACHER: Final = ("teacher",)
_MAPS: Final = ("data.parsing_damage", "data.parsing_damage_px", "data.parsing_dropout")
_TRAINED: Final = (
    *(f"teacher.{key}" for key in ("model", "seed", "lr", "max_steps", "max_epochs", "method")),
    "data.parsing_dropout",
)
_GAME: Final = ("module.adversarial_weight", "module.gate")


def typed_settings(cfg: DictConfig) -> list[str]:
    """Returns what was typed for a run; nothing for a teacher that it trains, and for runs started from Python."""
    if not HydraConfig.initialized() or HydraConfig.get().runtime.output_dir != cfg.run_dir:
        return []
    return list(HydraConfig.get().overrides.task)


def idle_settings(cfg: DictConfig, typed: Sequence[str], *, taught: bool, reads_maps: bool) -> str | None:
    """Returns a line for each typed setting without effect, with the reason; None if there is none.

    It is no error: the jobs of a sweep share their fixed settings, and some of them may not need all.

    Args:
        cfg: The training's configuration.
        typed: What was typed, e.g. `teacher.cache=true`.
        taught: Whether the objective has a teacher.
        reads_maps: Whether the network or its teacher reads parsing maps.
    """
    named = cfg.teacher.checkpoint not in ("auto", "none")
    reasons = {
        _BLIND: "" if cfg.data.degradation in ROUNDS else "it is for degradation=blind and blind2",
        _TEACHER: "" if taught else "the objective has no teacher",
        _TRAINED: f"{cfg.teacher.checkpoint} is trained already" if taught and named else "",
        _MAPS: "" if reads_maps else "no network reads parsing maps",
        _GAME: "" if cfg.module.discriminator else "there is no discriminator",
    }

    def lines() -> Iterator[str]:
        for override in OverridesParser.create().parse_overrides(list(typed)):
            key = str(override.key_or_group)
            for keys, reason in reasons.items():
                if (
                    reason and "." in key and within(key, keys)
                ):  # the choice of a group may be for other jobs of a sweep
                    yield f"{override.input_line} has no effect: {reason}."

    return "\n".join(lines()) or None
