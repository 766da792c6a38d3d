"""Quantises an ONNX model to 8 bits: smaller, on most CPUs faster, with a small loss of quality.

Uses ONNX Runtime's static quantisation (QDQ) for convolutions with their ReLUs, attention gates and sums of features.
Weights have a scale per output channel, activations the ranges of the calibration faces. The first and the last
convolution stay in float32 if that is better by `_WORTH_DB` on other faces.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from pkdn_lightning.export.graphs import INPUT
from pkdn_lightning.files import whole_file
from pkdn_lightning.models.checksum import CHECKSUM_KEY, add_checksum
from pkdn_lightning.models.onnx_int8 import CalibrationImages, on_features, quantise_nodes
from pkdn_lightning.models.onnx_rewrite import pool_whole_maps, shuffle_channels_last

_BATCH = 8
_WORTH_DB = 1.0  # required gain of float32 outer layers, which take a twentieth of the time


class Quantised(NamedTuple):
    """The choice made in quantisation.

    Attributes:
        float_ends: Whether the first and the last convolution stay in float32.
        tried: PSNR to the original on held-out faces in dB, by `float_ends`; without True where the network has
            no other convolutions.
    """

    float_ends: bool
    tried: dict[bool, float]


def quantise(source: Path, target: Path, lr: Tensor, closeness: Callable[[Path, Tensor], float]) -> Quantised:
    """Writes the 8-bit form of an ONNX model.

    Args:
        source: The float32 model.
        target: The file to write.
        lr: Two faces or more; the first half is for calibration, the second for the choice of `float_ends`.
        closeness: Returns the PSNR in dB between a model's results on faces and the original's.
    """
    import onnx

    calibration, held_out = lr[: len(lr) // 2], lr[len(lr) // 2 :]
    original = onnx.load(source)
    properties = [entry for entry in original.metadata_props if entry.key != CHECKSUM_KEY]  # it is another file
    del original.metadata_props[:]
    original.metadata_props.extend(properties)
    pool_whole_maps(original)
    shuffle_channels_last(original)
    convolutions = [node.name for node in original.graph.node if node.op_type == "Conv"]
    chosen = on_features(original)
    with TemporaryDirectory() as folder:
        ready = Path(folder, "ready.onnx")
        onnx.save(original, ready)
        ends_only = not set(convolutions[1:-1])  # without its ends, nothing of such a network would have 8 bits
        made = {ends: Path(folder, f"{int(ends)}.onnx") for ends in ((False,) if ends_only else (False, True))}
        for ends, file in made.items():
            left_out = {convolutions[0], convolutions[-1]} if ends else set()
            images = CalibrationImages(INPUT, calibration, _BATCH)
            quantise_nodes(ready, file, images, [name for name in chosen if name not in left_out])
        tried = {ends: closeness(file, held_out) for ends, file in made.items()}
        float_ends = tried.get(True, 0.0) > tried[False] + _WORTH_DB
        model = onnx.load(made[float_ends])
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    with whole_file(target) as temporary:
        onnx.save(model, temporary)
        add_checksum(temporary)
    return Quantised(float_ends, tried)


def closeness_db(sr: Tensor, original: Tensor) -> float:
    """Returns the PSNR between two restorations of the same faces, in dB, over all pixels and channels."""
    error = (sr - original).clamp(-1, 1).square().mean(dtype=torch.float64)
    return float(-10 * error.clamp_min(1e-12).log10())
