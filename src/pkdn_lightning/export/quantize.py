"""Quantises an ONNX model to 8 bits: smaller, on most CPUs faster, with a small loss of quality.

Uses ONNX Runtime's static quantisation (QDQ) for convolutions with their ReLUs, attention gates and sums of features.
Weights have a scale per output channel, activations the ranges of the calibration faces. The first and the last
convolution stay in float32 if that is better by `_WORTH_DB` on other faces.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pkdn_lightning.export.graphs import INPUT, quiet
from pkdn_lightning.export.onnx_rewrite import pool_whole_maps, shuffle_channels_last
from pkdn_lightning.files import whole_file
from pkdn_lightning.models.checksum import CHECKSUM_KEY, add_checksum

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


class Faces:
    """Provides calibration faces in batches, with ONNX Runtime's interface of a calibration data reader.

    Args:
        lr: (N, 3, h, w) in [0, 1].
    """

    def __init__(self, lr: Tensor) -> None:
        self._batches = iter(torch.split(lr, _BATCH))

    def get_next(self) -> dict[str, Any] | None:
        """Returns the next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}


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
            _quantise(ready, file, calibration, [name for name in chosen if name not in left_out])
        tried = {ends: closeness(file, held_out) for ends, file in made.items()}
        float_ends = tried.get(True, 0.0) > tried[False] + _WORTH_DB
        model = onnx.load(made[float_ends])
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    with whole_file(target) as temporary:
        onnx.save(model, temporary)
        add_checksum(temporary)
    return Quantised(float_ends, tried)


def on_features(model: Any) -> list[str]:
    """Returns the names of an ONNX model's nodes to quantise.

    These are convolutions, and the ReLUs, sigmoids, products with a sigmoid and sums of their results; not the sum
    that makes the image, nor computations on shapes and positions.
    """
    images = {output.name for output in model.graph.output}
    features: set[str] = set()  # everything computed from a convolution's result, except shapes
    gates: set[str] = set()
    chosen = []
    for node in model.graph.node:
        read, made = set(node.input), set(node.output)
        of_features = bool(features & read)
        if node.op_type == "Conv" or (of_features and node.op_type != "Shape"):
            features |= made
        if node.op_type == "Sigmoid" and of_features:
            gates |= made
        worked_on = {"Relu": of_features, "Sigmoid": of_features, "Add": of_features, "Mul": bool(gates & read)}
        if node.op_type == "Conv" or (worked_on.get(node.op_type) and not images & made):
            chosen.append(node.name)
    return chosen


def _quantise(source: Path, target: Path, lr: Tensor, nodes: Sequence[str]) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with quiet():  # it recommends a preprocessing step that is not needed here
        quantize_static(
            source,
            target,
            Faces(lr),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(nodes),
            calibrate_method=CalibrationMethod.MinMax,
        )


def closeness_db(sr: Tensor, original: Tensor) -> float:
    """Returns the PSNR between two restorations of the same faces, in dB, over all pixels and channels."""
    error = (sr - original).clamp(-1, 1).square().mean(dtype=torch.float64)
    return float(-10 * error.clamp_min(1e-12).log10())
