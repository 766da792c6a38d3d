"""Rescales the channels of an ONNX model's features so that 8 bits represent all of them well.

ONNX Runtime quantises a feature map with one scale for all channels, but their ranges differ by a factor of ten and
more: a channel with a small range would get few levels. A channel can be multiplied by any positive number between two
convolutions if the weights that read it are divided by that number; ReLUs, pooling, gates and sums of equally scaled
maps preserve this. Weights lose little, because they have a scale per output channel.

Reference:
    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1;
    here with measured ranges of features, and across sums.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.models.onnx_int8 import CalibrationImages

_SCALED_ALIKE: Final = ("Relu", "GlobalAveragePool", "AveragePool", "MaxPool", "Add")
_LARGEST: Final = 64.0  # factor, for channels that are nearly zero on the calibration faces


def equalise_channels(model: Any, images: CalibrationImages) -> None:
    """Gives the channels of each feature map equal ranges; the model's results stay the same up to rounding.

    Args:
        model: A float32 ONNX model with pixel shuffles as `DepthToSpace`, changed in place.
        images: Faces on which the ranges are measured.
    """
    from onnx.numpy_helper import from_array, to_array

    constants = {each.name: each for each in model.graph.initializer}
    shown = _shuffled(model)
    groups = _groups(model, shown)
    ranges = _ranges(model, {name for group in groups for name in group}, images)

    def multiply(name: str, factors: NDArray[np.float64], axis: int) -> None:
        value = to_array(constants[name])
        shape = [-1 if each == axis else 1 for each in range(value.ndim)]
        constants[name].CopyFrom(from_array((value * factors.reshape(shape)).astype(value.dtype), name))

    for group in groups:
        if len({len(ranges[name]) for name in group}) > 1:  # maps of one channel, broadcast
            continue
        factors = 1 / np.max([ranges[name] for name in group], axis=0).clip(1 / _LARGEST)
        for node in model.graph.node:
            if node.op_type != "Conv":
                continue
            if node.input[0] in group:
                multiply(node.input[1], 1 / factors, axis=1)
            if shown.get(node.output[0], node.output[0]) in group:
                repeats = to_array(constants[node.input[1]]).shape[0] // len(factors)  # pixels of a shuffle
                for name in node.input[1:]:
                    multiply(name, np.repeat(factors, repeats), axis=0)


def _shuffled(model: Any) -> dict[str, str]:
    """Returns the convolutions' results that only a pixel shuffle reads, and what it makes of them."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    convolved = {node.output[0] for node in model.graph.node if node.op_type == "Conv"}
    return {
        node.input[0]: node.output[0]
        for node in model.graph.node
        if node.op_type == "DepthToSpace"
        and any(each.name == "mode" and each.s == b"CRD" for each in node.attribute)  # PyTorch's order of channels
        and node.input[0] in convolved
        and uses[node.input[0]] == 1
    }


def _groups(model: Any, shown: Mapping[str, str]) -> list[set[str]]:
    """Returns the sets of feature maps whose channels can be rescaled, each with common factors."""
    constants = {each.name for each in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    gates = {node.output[0] for node in model.graph.node if node.op_type == "Sigmoid"}
    group_of: dict[str, set[str]] = {}
    fixed = {each.name for each in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        read = [shown.get(name, name) for name in node.input]
        made = [shown.get(name, name) for name in node.output]
        convolves = node.op_type == "Conv" and all(uses[name] == 1 and name in constants for name in read[1:])
        if convolves and not any(each.name == "group" and each.i != 1 for each in node.attribute):
            alike = [[read[0]], made]
        elif node.op_type == "Mul" and len(gates & set(read)) == 1:
            alike = [[name for name in (*read, *made) if name not in gates]]
        elif node.op_type in _SCALED_ALIKE and not constants & set(read):
            alike = [[*read, *made]]
        else:
            alike = [[name] for name in (*read, *made)]
            if node.op_type != "Shape" and node.input[0] not in shown:
                fixed.update(read, made)
        for names in alike:
            joined = set().union(*(group_of.get(name, {name}) for name in names))
            group_of |= dict.fromkeys(joined, joined)
    found = {id(group): group for group in group_of.values()}.values()
    return [group for group in found if not group & (fixed | constants)]


def _ranges(model: Any, names: set[str], images: CalibrationImages) -> dict[str, NDArray[np.float64]]:
    """Returns the range of each channel of feature maps relative to the map's, in (0, 1]."""
    import onnx
    import onnxruntime

    if not names:
        return {}
    measured, order = onnx.ModelProto(), sorted(names)
    measured.CopyFrom(model)
    del measured.graph.output[:]
    measured.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 2, 3]), "/axes"))
    for name in order:
        for kind in ("ReduceMax", "ReduceMin"):
            made = f"{name}/{kind}"
            measured.graph.node.append(onnx.helper.make_node(kind, [name, "/axes"], [made], made, keepdims=0))
            measured.graph.output.append(onnx.helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(measured.SerializeToString(), providers=["CPUExecutionProvider"])
    batches = [session.run(None, batch) for batch in iter(images.get_next, None)]
    found = {}
    for number, name in enumerate(order):
        high = np.max([batch[2 * number] for batch in batches], axis=0).clip(min=0).astype(np.float64)
        low = np.min([batch[2 * number + 1] for batch in batches], axis=0).clip(max=0).astype(np.float64)
        ends = [side / extreme for side, extreme in ((high, high.max()), (low, low.min())) if extreme]
        found[name] = np.max([*ends, np.zeros_like(high)], axis=0)
    return found
