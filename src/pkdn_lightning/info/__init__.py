"""The verb `info`: cost of a network and of each of its blocks.

pkdn info model=pkdn_student
pkdn info models.student=runs/student_celeba/2026-01-31_12-00-00 faces=8
"""

from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.info.cost_table import NetworkCost


def info(cfg: "DictConfig") -> "list[NetworkCost]":
    """Measures parameters, multiply-accumulates, activation memory and time of networks and their blocks.

    Args:
        cfg: A configuration as `compose("info", [...])` returns it.

    Returns:
        The costs, which are also printed.

    Raises:
        PKDNError: If a network cannot be built or loaded.
    """
    from pkdn_lightning.info.cost_table import run_info

    return run_info(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("info", info)
