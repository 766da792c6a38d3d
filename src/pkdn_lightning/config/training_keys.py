"""Which keys of a configuration change what is learned, and which only concern where and how it is run and logged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_OBSERVING: Final = (
    "run_dir", "resume", "test", "tuned", "threads", "tags", "paths", "logger", "data.test_stores", "data.source",
    "data.verify", "data.resident", "teacher.cache", "data.num_workers", "data.eval_batch_size", "module.compile",
    "module.channels_last", "module.recompute", "optimizer.fused", "optimizer.foreach",
    "trainer.accelerator", "trainer.strategy", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    "trainer.log_every_n_steps", "trainer.num_sanity_val_steps", "trainer.limit_test_batches", "trainer.profiler",
    "trainer.detect_anomaly", "trainer.fast_dev_run", "trainer.benchmark", "trainer.deterministic",
)  # fmt: skip
AUTO_KEYS: Final = ("teacher.checkpoint", "trainer.precision")
"""Keys that may be `auto`; a run folder holds the value that was found."""
_LEARNING: Final = ("callbacks.ema", "callbacks.early_stopping")  # the other callbacks only observe


def flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of a configuration by dotted key."""
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def affects_training(key: str) -> bool:
    """Returns whether a key affects what is learned."""
    return within(key, _LEARNING) if key.startswith("callbacks.") else not within(key, _OBSERVING)


def within(key: str, parents: Sequence[str]) -> bool:
    """Returns whether a key is one of the given ones or below one."""
    return any(key == parent or key.startswith(f"{parent}.") for parent in parents)


def describe_difference(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Returns in which values two flat configurations differ, the first three in full; None if they do not."""
    differing = [key for key in sorted(saved.keys() | wanted.keys()) if saved.get(key) != wanted.get(key)]
    shown = ", ".join(f"{key}={saved.get(key)} instead of {wanted.get(key)}" for key in differing[:3])
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    return f"{shown}{more}" if differing else None
