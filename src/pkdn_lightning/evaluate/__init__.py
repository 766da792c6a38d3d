"""The verb `evaluate`: runs, checkpoints and bicubic, measured side by side under one protocol.

pkdn evaluate models.student=runs/student_celeba/2026-01-31_12-00-00 data=celeba
pkdn evaluate models.student=runs/a models.plain=runs/b data=celeba 'protocols=[headline,rgb]'
"""

from typing import TYPE_CHECKING, Any

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.evaluate.evaluation import Evaluation


def evaluate(cfg: "DictConfig") -> "Evaluation":
    """Measures every model of `cfg`, and bicubic as the floor, on a split of every store of `cfg`.

    Args:
        cfg: A configuration as `compose("evaluate", [..., "run_dir=<folder>"])` returns it.

    Returns:
        The means, and the folder with `results.json`, `per_image.csv`, `table.md` and an image grid per store.

    Raises:
        PKDNError: If a model or store cannot be used; the message names it.
    """
    from pkdn_lightning.evaluate.evaluation import run_evaluation

    return run_evaluation(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("evaluate", _task)


def _task(cfg: "DictConfig") -> Any:
    evaluate(cfg)
