"""The verb `export`: a trained model for use elsewhere, each file compared with the original on faces.

pkdn export model=runs/student_celeba/2026-01-31_12-00-00 output=exported/
pkdn export model=<run> output=exported/ 'formats=[onnx,int8]' store=stores/celeba

graphs        the network as a torch.export program and as ONNX, with its card inside the file
onnx_rewrite  the ONNX graph in the form that 8-bit kernels want
quantize      the ONNX model in 8-bit integers
comparison    each file against the original, on faces
exporter      all of it in turn
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
        The folder with the files, and how near each is to the original.

    Raises:
        PKDNError: If the model cannot be loaded or exported, an extra is missing, or files are there already.
    """
    from pkdn_lightning.export.exporter import run_export

    return run_export(cfg)


def main() -> None:
    """Runs the verb from the command line."""
    run_verb("export", export, paths=("model", "output", "store"))
