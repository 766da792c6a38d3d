"""Rewrites ONNX graphs so that their 8-bit form is fast; their results stay the same.

ONNX Runtime's 8-bit convolutions use the channels-last layout. Each operator without an 8-bit kernel or in another
layout adds conversions, which together take as much time as the convolutions.
"""

from collections import Counter
from typing import Any

import numpy as np


def pool_whole_maps(model: Any) -> None:
    """Replaces means over height and width by global average pooling, which has an 8-bit kernel.

    Args:
        model: An ONNX model, changed in place.
    """
    from onnx.numpy_helper import to_array

    constants = {each.name: to_array(each) for each in model.graph.initializer}
    released = set()
    for node in model.graph.node:
        if node.op_type != "ReduceMean":
            continue
        keeps = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if keeps and axes is not None and sorted(axes.tolist()) in ([-2, -1], [2, 3]):
            node.op_type = "GlobalAveragePool"
            released.add(node.input[1])
            del node.input[1:], node.attribute[:]
    released -= {name for node in model.graph.node for name in node.input}
    for constant in [each for each in model.graph.initializer if each.name in released]:
        model.graph.initializer.remove(constant)  # ONNX Runtime would print a warning for each


def shuffle_channels_last(model: Any) -> None:
    """Replaces pixel shuffles after a convolution by equivalents for the channels-last layout.

    The convolution's output channels are reordered so that the channels of each output pixel are contiguous.

    Args:
        model: An ONNX model, changed in place.
    """
    from onnx.numpy_helper import from_array, to_array

    constants = {each.name: each for each in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    uses = Counter(name for node in model.graph.node for name in node.input)
    nodes: list[Any] = []
    for node in model.graph.node:
        source = made_by.get(node.input[0]) if node.op_type == "DepthToSpace" else None
        if (
            source is None
            or source.op_type != "Conv"
            or any(uses[name] > 1 for name in (*source.input[1:], *source.output))
        ):
            nodes.append(node)
            continue
        side = next(attribute.i for attribute in node.attribute if attribute.name == "blocksize")
        for name in source.input[1:]:  # weight and bias, in PyTorch's order: channel, row, column
            value = to_array(constants[name])
            ordered = value.reshape(-1, side**2, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
            constants[name].CopyFrom(from_array(np.ascontiguousarray(ordered), name))
        shuffle, sizes = _shuffle(node, side)
        nodes += shuffle
        model.graph.initializer.extend(sizes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _shuffle(node: Any, side: int) -> tuple[list[Any], list[Any]]:
    """Returns nodes and constants of a pixel shuffle of (B, C, H, W) by way of (B, H, W, row, column, channel)."""
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array

    last, apart, moved, together, small, larger, large, parts, times, over = (
        f"{node.name}/{step}"
        for step in ("last", "apart", "moved", "together", "small", "larger", "large", "parts", "times", "over")
    )
    nodes = [
        make_node("Transpose", [node.input[0]], [last], last, perm=[0, 2, 3, 1]),
        make_node("Reshape", [last, parts], [apart], apart),
        make_node("Transpose", [apart], [moved], moved, perm=[0, 1, 3, 2, 4, 5]),  # (B, H, row, W, column, channel)
        make_node("Shape", [last], [small], small),
        make_node("Mul", [small, times], [larger], larger),
        make_node("Div", [larger, over], [large], large),
        make_node("Reshape", [moved, large], [together], together),
        make_node("Transpose", [together], list(node.output), node.name, perm=[0, 3, 1, 2]),
    ]
    sizes = {parts: [0, 0, 0, side, side, -1], times: [1, side, side, 1], over: [1, 1, 1, side**2]}
    return nodes, [from_array(np.array(value), name) for name, value in sizes.items()]
