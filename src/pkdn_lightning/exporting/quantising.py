"""The ONNX model in 8-bit integers: smaller, and on most CPUs faster, for a little of its quality.

ONNX Runtime's static quantisation (QDQ): convolutions with their ReLUs and attention's gates, a scale per output
channel for weights, and for activations the ranges that calibration faces show. The first convolution sees the picture
and the last one makes it; whether these two stay in float32 is decided by what each way loses on other faces.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pkdn_lightning.exporting.graphs import INPUT, quiet

_BATCH = 8
_WORTH_DB = 0.01  # what keeping the outer layers in float must gain to be done


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
    convolutions = [node.name for node in original.graph.node if node.op_type == "Conv"]
    relus = [node.name for node in original.graph.node if node.op_type == "Relu"]
    chosen = [*convolutions, *relus, *gates(original)]
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
    onnx.save(model, target)
    return Quantised(float_ends, tried)


def pool_whole_maps(model: Any) -> None:
    """Writes means over height and width as what they are, global pooling, which ONNX Runtime has in 8 bits.

    Args:
        model: An ONNX model, changed in place.
    """
    from onnx.numpy_helper import to_array

    constants = {each.name: to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ReduceMean":
            continue
        keeps = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if keeps and axes is not None and sorted(axes.tolist()) in ([-2, -1], [2, 3]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]


def gates(model: Any) -> list[str]:
    """Returns the names of an ONNX model's sigmoids and of the products with them."""
    sigmoids = [node for node in model.graph.node if node.op_type == "Sigmoid"]
    opened = {node.output[0] for node in sigmoids}
    products = [node for node in model.graph.node if node.op_type == "Mul" and opened & set(node.input)]
    return [node.name for node in (*sigmoids, *products)]


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
