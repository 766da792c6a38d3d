"""An ONNX graph on its way to 8 bits: rewritten it computes the same, and what is quantised is made of features."""

import numpy as np
import pytest

from pkdn_lightning.models.onnx_int8 import on_features
from pkdn_lightning.models.onnx_rewrite import pool_whole_maps, shuffle_channels_last

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

X = np.random.default_rng(0).random((1, 3, 5, 6), dtype=np.float32)


def model_of(nodes, constants, channels):
    """A model that makes `y` of `x`."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*node, **attributes) for node, attributes in nodes],
        "tested",
        [value("x", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [value("y", onnx.TensorProto.FLOAT, ["batch", channels, None, None])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def run(model):
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


def kinds(model):
    return [node.op_type for node in model.graph.node]


@pytest.fixture
def attention():
    """A channel attention that pools whole maps, then the mean over channels, which is another thing."""
    weight = np.random.default_rng(1).random((4, 3, 1, 1), dtype=np.float32)
    return model_of(
        [
            (("Conv", ["x", "weight"], ["features"], "conv"), {}),
            (("ReduceMean", ["features", "hw"], ["pooled"], "pool"), {"keepdims": 1}),
            (("Sigmoid", ["pooled"], ["gate"], "sigmoid"), {}),
            (("Mul", ["features", "gate"], ["gated"], "product"), {}),
            (("Add", ["features", "gated"], ["sum"], "sum"), {}),
            (("Add", ["x", "x"], ["twice"], "of_the_image"), {}),
            (("Mul", ["sum", "sum"], ["squares"], "square"), {}),
            (("ReduceMean", ["squares", "c"], ["mean"], "over_channels"), {"keepdims": 1}),
            (("Add", ["mean", "twice"], ["y"], "the_image"), {}),
        ],
        {"weight": weight, "hw": [2, 3], "c": [1]},
        3,
    )


def test_means_of_whole_maps_are_pooled_and_others_stay(attention):
    before, unchanged = run(attention), kinds(attention)
    pool_whole_maps(attention)
    assert kinds(attention) == ["Conv", "GlobalAveragePool", *unchanged[2:]]
    np.testing.assert_allclose(run(attention), before, rtol=1e-5)
    assert {each.name for each in attention.graph.initializer} == {"weight", "c"}  # nothing that no node reads


def test_what_is_done_with_features_is_quantised_and_the_image_is_not(attention):
    assert on_features(attention) == ["conv", "sigmoid", "product", "sum"]


@pytest.fixture
def upscaling():
    """Returns a function that makes a convolution and a pixel shuffle, the latter `times` with the same weight."""

    def make(times):
        random = np.random.default_rng(2)
        constants = {"weight": random.random((12, 3, 3, 3)), "bias": random.random(12)}
        nodes = []
        for number in range(times):
            source, result = ("x", f"x{number}")[number > 0], ("y", f"x{number + 1}")[number < times - 1]
            nodes += [
                (("Conv", [source, "weight", "bias"], [f"c{number}"], f"conv{number}"), {"pads": [1, 1, 1, 1]}),
                (("DepthToSpace", [f"c{number}"], [result], f"shuffle{number}"), {"blocksize": 2, "mode": "CRD"}),
            ]
        return model_of(nodes, {name: value.astype(np.float32) for name, value in constants.items()}, 3)

    return make


def test_a_shuffle_moves_whole_pixels_and_gives_the_same(upscaling):
    model = upscaling(1)
    before = run(model)
    shuffle_channels_last(model)
    assert "DepthToSpace" not in kinds(model)
    assert run(model).shape == (1, 3, 10, 12)
    np.testing.assert_allclose(run(model), before, rtol=1e-5)


def test_a_weight_of_several_convolutions_is_left_as_it_is(upscaling):
    model = upscaling(2)
    before = run(model)
    shuffle_channels_last(model)
    assert kinds(model) == ["Conv", "DepthToSpace"] * 2
    np.testing.assert_array_equal(run(model), before)
