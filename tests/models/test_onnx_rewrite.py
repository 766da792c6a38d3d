"""An ONNX graph on its way to 8 bits: rewritten it computes the same, and what is quantised is made of features."""

import numpy as np
import pytest
import torch

from pkdn_lightning.export.equalize import equalise_channels
from pkdn_lightning.models.onnx_int8 import CalibrationImages, on_features
from pkdn_lightning.models.onnx_rewrite import halve_weights, merge_head, pool_whole_maps, shuffle_channels_last

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


def session_of(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(model, x=X):
    onnx.checker.check_model(model)
    return session_of(model).run(None, {"x": x})[0]


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


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def hourglass():
    """Two first convolutions that can be one, a gated residual block, and a pixel shuffle before the last."""
    pads = {"pads": [1] * 4, "kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "group": 1}
    half = pads | {"pads": [2] * 4, "kernel_shape": [6, 6], "strides": [2, 2]}
    uneven = np.geomspace(0.01, 1, 6, dtype=np.float32).reshape(6, 1, 1, 1)
    return model_of(
        [
            (("Conv", ["x", "w1", "b1"], ["full"], "head"), pads),
            (("Conv", ["full", "w2", "b2"], ["half"], "down"), half),
            (("Conv", ["half", "w3", "b3"], ["inner"], "in"), pads),
            (("Relu", ["inner"], ["positive"], "relu"), {}),
            (("Conv", ["positive", "w4", "b4"], ["outer"], "out"), pads),
            (("GlobalAveragePool", ["outer"], ["pooled"], "pool"), {}),
            (("Conv", ["pooled", "w5", "b5"], ["squeezed"], "squeeze"), {"kernel_shape": [1, 1]}),
            (("Sigmoid", ["squeezed"], ["gate"], "sigmoid"), {}),
            (("Mul", ["outer", "gate"], ["gated"], "product"), {}),
            (("Add", ["half", "gated"], ["sum"], "sum"), {}),
            (("Conv", ["sum", "w6", "b6"], ["many"], "up"), pads),
            (("DepthToSpace", ["many"], ["large"], "shuffle"), {"blocksize": 2, "mode": "CRD"}),
            (("Conv", ["large", "w7", "b7"], ["y"], "tail"), pads),
        ],
        {
            "w1": weights(1, 4, 3, 3, 3), "b1": weights(2, 4), "b2": weights(4, 6), "b3": weights(6, 6),
            "w2": weights(3, 6, 4, 6, 6) * uneven, "w3": weights(5, 6, 6, 3, 3) * uneven, "b4": weights(8, 6),
            "w4": weights(7, 6, 6, 3, 3) * uneven, "w5": weights(9, 6, 6, 1, 1), "b5": weights(10, 6),
            "w6": weights(11, 8, 6, 3, 3), "b6": weights(12, 8), "w7": weights(13, 3, 2, 3, 3), "b7": weights(14, 3),
        },
        3,
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 3, 16, 22)])
def test_merged_and_equalised_it_computes_the_same(hourglass, shape):
    """Also at the border, where the second convolution reads zeros."""
    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    before = run(hourglass, x)
    equalise_channels(hourglass, CalibrationImages("x", torch.from_numpy(x), 1))
    merge_head(hourglass)
    assert kinds(hourglass).count("Conv") == 14  # nine for the first two: the inside, and two for each side
    np.testing.assert_allclose(run(hourglass, x), before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    halve_weights(hourglass)
    np.testing.assert_allclose(run(hourglass, x), before, rtol=0.01, atol=0.01 * np.abs(before).max())


def test_channels_that_had_other_ranges_have_equal_ones(hourglass):
    def spread(name):
        """Returns the largest range of a channel over the smallest."""
        model = onnx.ModelProto()
        model.CopyFrom(hourglass)
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        maps = session_of(model).run([name], {"x": x})[0]
        ranges = np.abs(maps).max((0, 2, 3))
        return ranges.max() / ranges.min()

    x = np.random.default_rng(1).random((2, 3, 16, 16), dtype=np.float32)
    before = {name: spread(name) for name in ("half", "positive", "outer", "sum")}
    equalise_channels(hourglass, CalibrationImages("x", torch.from_numpy(x), 1))
    assert all(spread(name) < before[name] / 2 for name in before), before


def test_what_reads_features_in_another_way_is_not_rescaled(attention):
    before = [initializer.SerializeToString() for initializer in attention.graph.initializer]
    pool_whole_maps(attention)
    equalise_channels(attention, CalibrationImages("x", torch.from_numpy(X), 1))
    assert attention.graph.initializer[0].SerializeToString() == before[0]
