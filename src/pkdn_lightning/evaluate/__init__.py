"""The verb `evaluate`: measures runs, checkpoints and bicubic under the same protocols.

pkdn evaluate models.student=runs/student_celeba/2026-01-31_12-00-00 data=celeba
pkdn evaluate models.student=runs/a models.plain=runs/b data=celeba 'protocols=[headline,rgb]'
"""

from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.evaluate.evaluation import Evaluation


def evaluate(cfg: "DictConfig") -> "Evaluation":
    """Measures bicubic and every model of `cfg` on one split of each test set.

    Args:
        cfg: A configuration as `compose("evaluate", [..., "run_dir=<folder>"])` returns it.

    Returns:
        The mean metrics, and the folder with `results.json`, `per_image.csv`, `table.md` and a grid per test set.

    Raises:
        PKDNError: If a model or store cannot be used.
    """
    from pkdn_lightning.evaluate.evaluation import run_evaluation

    return run_evaluation(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("evaluate", evaluate)
