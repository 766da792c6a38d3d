"""The ONNX model in 8-bit integers: smaller, and on most CPUs faster, for a little of its quality.

ONNX Runtime's static quantisation (QDQ): convolutions with their ReLUs, attention's gates and sums of features, a scale
per output channel for weights, and for activations the ranges that calibration faces show. The first convolution sees
the image and the last one makes it; whether these two stay in float32 is decided by what each way loses on other
faces.
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

_BATCH = 8
_WORTH_DB = 1.0  # what keeping the outer layers in float must gain to be done: it takes a twentieth of the time


class Quantised(NamedTuple):
    """How a model was quantised.

    Attributes:
        float_ends: Whether the first and the last convolution stay in float32.
        tried: PSNR to the original on the faces kept apart, in dB, by whether they do.
    """

    float_ends: bool
    tried: dict[bool, float]


class Faces:
    """Feeds calibration faces, a batch at a time, as ONNX Runtime asks for them.

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
        source: The model in float32.
        target: Where its 8-bit form goes.
        lr: Two faces or more; the first half calibrates, the second half decides.
        closeness: Returns how near a model's results on faces are to the original's, in dB.
    """
    import onnx

    calibrating, deciding = lr[: len(lr) // 2], lr[len(lr) // 2 :]
    original = onnx.load(source)
    properties = list(original.metadata_props)
    pool_whole_maps(original)
    shuffle_channels_last(original)
    convolutions = [node.name for node in original.graph.node if node.op_type == "Conv"]
    chosen = on_features(original)
    with TemporaryDirectory() as folder:
        ready = Path(folder, "ready.onnx")
        onnx.save(original, ready)
        made = {ends: Path(folder, f"{int(ends)}.onnx") for ends in (False, True)}
        for ends, file in made.items():
            left_out = {convolutions[0], convolutions[-1]} if ends else set()
            _quantise(ready, file, calibrating, [name for name in chosen if name not in left_out])
        tried = {ends: closeness(file, deciding) for ends, file in made.items()}
        float_ends = tried[True] > tried[False] + _WORTH_DB
        model = onnx.load(made[float_ends])
    del model.metadata_props[:]
    model.metadata_props.extend(properties)
    with whole_file(target) as temporary:
        onnx.save(model, temporary)
    return Quantised(float_ends, tried)


def on_features(model: Any) -> list[str]:
    """Returns the names of an ONNX model's nodes to quantise: convolutions, and what is done with their results.

    These are ReLUs, sigmoids, products with a sigmoid, and sums; not the sum that is the image, nor what a network
    computes of sizes and positions.
    """
    images = {output.name for output in model.graph.output}
    features: set[str] = set()  # whatever is made of a convolution's result, sizes apart
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

    with quiet():  # it advises a preprocessing that the exporter's graph does not need
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
    """Returns the PSNR between two restorations of the same faces, in dB, over all pixels and colours."""
    error = (sr - original).clamp(-1, 1).square().mean(dtype=torch.float64)
    return float(-10 * error.clamp_min(1e-12).log10())
