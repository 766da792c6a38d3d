"""Typed settings that have no effect on the run they were typed for."""

from collections.abc import Mapping, Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pkdn_lightning.config.training_keys import within


def typed_settings(cfg: DictConfig) -> list[str]:
    """Returns what was typed for a run; nothing for a teacher that it trains, and for runs started from Python."""
    if not HydraConfig.initialized() or HydraConfig.get().runtime.output_dir != cfg.run_dir:
        return []
    return list(HydraConfig.get().overrides.task)


def idle_settings(cfg: DictConfig, typed: Sequence[str], idle: Mapping[str, str]) -> str | None:
    """Returns a line for each typed setting without effect, with the reason; None if there is none.

    It is no error: the jobs of a sweep share their fixed settings, and some of them may not need all.

    Args:
        cfg: The training's configuration. What one of its values refers to has an effect by that.
        typed: What was typed, e.g. `teacher.cache=true`. The choice of a group may be for other jobs of a sweep.
        idle: Why keys have no effect, by key; see `config.idle_keys`.
    """
    text = OmegaConf.to_yaml(cfg)
    parsed = OverridesParser.create().parse_overrides(list(typed))
    given = {str(each.key_or_group): str(each.input_line) for each in parsed}
    settings = {key: line for key, line in given.items() if "." in key or key == "size"}
    if not any("${by_size:" in OmegaConf.to_yaml(each) for each in (cfg.model, cfg.teacher.model)):
        idle = {**idle, "size": "the sizes of the networks are given by their own arguments; only names tell it"}
    lines = [
        f"{line} has no effect: {reason}."
        for key, line in settings.items()
        for parent, reason in idle.items()
        if within(key, (parent,)) and f"${{{key}}}" not in text
    ]
    return "\n".join(dict.fromkeys(lines)) or None
