"""What is quantised: the graph is rewritten where an operator has no 8-bit form, and nothing else changes."""

import numpy as np
import pytest

from pkdn_lightning.exporting.quantising import gates, pool_whole_maps

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def model():
    """A channel attention that pools whole maps, then the mean over channels, which is another thing."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    maps, channels = (onnx.numpy_helper.from_array(np.array(axes), name) for axes, name in (([2, 3], "hw"), ([1], "c")))
    graph = onnx.helper.make_graph(
        [
            node("ReduceMean", ["x", "hw"], ["pooled"], "pool", keepdims=1),
            node("Sigmoid", ["pooled"], ["gate"], "sigmoid"),
            node("Mul", ["x", "gate"], ["gated"], "product"),
            node("Mul", ["gated", "gated"], ["squares"], "square"),
            node("ReduceMean", ["squares", "c"], ["y"], "over_channels", keepdims=1),
        ],
        "attention",
        [value("x", onnx.TensorProto.FLOAT, [1, 4, 5, 6])],
        [value("y", onnx.TensorProto.FLOAT, [1, 1, 5, 6])],
        [maps, channels],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def run(model):
    x = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_means_of_whole_maps_are_pooled_and_others_stay(model):
    before = run(model)
    pool_whole_maps(model)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["GlobalAveragePool", "Sigmoid", "Mul", "Mul", "ReduceMean"]
    np.testing.assert_allclose(run(model), before, rtol=1e-5)


def test_gates_are_sigmoids_and_the_products_with_them(model):
    assert gates(model) == ["sigmoid", "product"]
