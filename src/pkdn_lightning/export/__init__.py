"""The verb `export`: writes a trained model in other formats and compares each with the original.

pkdn export model=runs/student_celeba/2026-01-31_12-00-00 output=exported/
pkdn export model=<run> output=exported/ 'formats=[onnx,int8]' store=stores/celeba

graphs        writes torch.export programs and ONNX models, with the card in the file
quantize      quantises an ONNX model to 8 bits
comparison    compares each file with the original on faces
exporter      the steps of an export
"""

from typing import TYPE_CHECKING

from pkdn_lightning.config.verb import run_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pkdn_lightning.export.exporter import Export


def export(cfg: "DictConfig") -> "Export":
    """Writes a trained model in the formats of `cfg`, and compares each with the original.

    Args:
        cfg: A configuration as `compose("export", ["model=<run>", "output=<folder>"])` returns it.

    Returns:
        The folder of the files, and the comparison of each with the original.

    Raises:
        PKDNError: If the model cannot be loaded or exported, an extra is missing, or files exist already.
    """
    from pkdn_lightning.export.exporter import run_export

    return run_export(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("export", export)
