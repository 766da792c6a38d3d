"""Rewrites ONNX graphs so that their 8-bit form is fast; their results stay the same.

ONNX Runtime's 8-bit convolutions use the channels-last layout. Each operator without an 8-bit kernel or in another
layout adds conversions, which together take as much time as the convolutions.
"""

from collections import Counter
from typing import Any, Final

import numpy as np

_HEAD: Final = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1], "dilations": [1, 1], "group": 1}
_DOWN: Final = {"kernel_shape": [6, 6], "pads": [2] * 4, "strides": [2, 2], "dilations": [1, 1], "group": 1}
_END: Final = 2**31 - 1  # of an axis of any length


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


def halve_weights(model: Any) -> None:
    """Stores the float32 weights of convolutions in float16; they are computed with in float32.

    Args:
        model: An ONNX model, changed in place.
    """
    from onnx import TensorProto
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array, to_array

    read = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    casts = []
    for each in model.graph.initializer:
        if each.name in read and each.data_type == TensorProto.FLOAT:
            name, stored = each.name, f"{each.name}/float16"
            each.CopyFrom(from_array(to_array(each).astype(np.float16), stored))
            casts.append(make_node("Cast", [stored], [name], f"{name}/float32", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    model.graph.node.extend(nodes)
    del model.graph.node[: -len(nodes)]


def merge_head(model: Any) -> None:
    """Replaces a first 3x3 convolution and the 6x6 one with stride 2 that alone reads it by one 8x8 convolution.

    From an image of 3 channels it takes a sixth of the products, and its 3 channels need not pass through features at
    full size. At the border, where the second convolution reads zeros instead of features, both are computed on strips.

    Args:
        model: An ONNX model, changed in place.
    """
    from onnx.numpy_helper import from_array, to_array

    uses = Counter(name for node in model.graph.node for name in node.input)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    head = convolutions[0]
    down = next((node for node in convolutions if node.input[0] == head.output[0]), None)
    if down is None or uses[head.output[0]] > 1 or not (_is(head, _HEAD) and _is(down, _DOWN)):
        return
    values = {each.name: to_array(each) for each in model.graph.initializer}
    (first, first_bias), (second, second_bias) = ([values[name] for name in node.input[1:]] for node in (head, down))
    kernel = np.zeros((len(second), first.shape[1], 8, 8), np.float64)
    for y, x in np.ndindex(6, 6):
        kernel[:, :, y : y + 3, x : x + 3] += np.einsum("om,mcyx->ocyx", second[:, :, y, x], first.astype(np.float64))
    bias = second_bias + np.einsum("omyx,m->o", second, first_bias.astype(np.float64))
    name = f"{head.name}/merged"
    merged = {f"{name}/weight": kernel.astype(np.float32), f"{name}/bias": bias.astype(np.float32)}
    numbers = {f"{name}/{each}": np.array([each]) for each in (0, 1, 2, 3, 5, -1, -5, _END)}
    model.graph.initializer.extend(from_array(value, key) for key, value in (merged | numbers).items())
    nodes = [node for node in model.graph.node if node is not head]
    place = [node.name for node in nodes].index(down.name)
    nodes[place : place + 1] = _merged(head, down, name)
    model.graph.node.extend(nodes)
    del model.graph.node[: -len(nodes)]


def _merged(head: Any, down: Any, name: str) -> list[Any]:
    """Returns the nodes that make of an image what both convolutions make of it: the inside, and four sides."""
    from onnx.helper import make_node

    nodes = []

    def add(kind: str, inputs: list[str], made: str, **attributes: Any) -> str:
        output = made if made in down.output else f"{name}/{made}"
        nodes.append(make_node(kind, inputs, [output], f"{name}/{made}", **attributes))
        return output

    def part(source: str, axis: int, begin: int, end: int, made: str) -> str:
        return add("Slice", [source, *(f"{name}/{number}" for number in (begin, end, axis))], made)

    def side(axis: int, *, far: bool) -> str:
        made = f"{axis}/{int(far)}"
        found = part(head.input[0], axis, *((-5, _END) if far else (0, 5)), f"{made}/image")
        for node, step, pad, stride in ((head, "head", 1, 1), (down, "down", 2, 2)):
            pads = [pad] * 4  # of the ends that are inside the image: none
            pads[axis - 2 + (0 if far else 2)] = 0
            found = add("Conv", [found, *node.input[1:]], f"{made}/{step}", pads=pads, strides=[stride, stride])
        return found

    inside = add("Conv", [head.input[0], f"{name}/weight", f"{name}/bias"], "inside", pads=[1] * 4, strides=[2, 2])
    left, right = (part(side(3, far=far), 2, 1, -1, f"{int(far)}/without_corners") for far in (False, True))
    rows = add("Concat", [left, inside, right], "rows", axis=3)
    add("Concat", [side(2, far=False), rows, side(2, far=True)], down.output[0], axis=2)
    return nodes


def _is(node: Any, expected: dict[str, Any]) -> bool:
    """Returns whether a convolution with a bias has these attributes."""
    from onnx.helper import get_attribute_value

    found = {each.name: get_attribute_value(each) for each in node.attribute}
    return len(node.input) == 3 and {key: found.get(key) for key in expected} == expected
