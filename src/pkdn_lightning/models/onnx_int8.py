"""ONNX Runtime's static quantisation to 8 bits (QDQ): what `export` and the parser of faces share.

Weights have a scale per output channel, activations the ranges of calibration images.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pkdn_lightning.errors import ConfigError


class CalibrationImages:
    """Provides calibration images in batches, with ONNX Runtime's interface of a calibration data reader.

    Args:
        name: The graph's input.
        images: (N, 3, h, w).
        batch: Images per batch.
    """

    def __init__(self, name: str, images: Tensor, batch: int) -> None:
        self._name, self._batches = name, iter(torch.split(images, batch))

    def get_next(self) -> dict[str, Any] | None:
        """Returns the next batch, or None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.contiguous().numpy()}


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


def quantise_nodes(
    source: Path, target: Path, images: CalibrationImages, nodes: Sequence[str], *, reduce_range: bool = False
) -> None:
    """Writes an ONNX model with some of its nodes in 8 bits.

    Args:
        source: The float32 model.
        target: The file to write.
        images: Determine the ranges of the activations.
        nodes: Names of the nodes to quantise.
        reduce_range: Gives weights 7 bits, with which sums cannot saturate on any processor.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with quiet():  # it recommends a preprocessing step that is not needed here
        quantize_static(
            source,
            target,
            images,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=list(nodes),
            calibrate_method=CalibrationMethod.MinMax,
        )


def check_onnx(otherwise: str) -> None:
    """Checks that the packages for ONNX are installed.

    Args:
        otherwise: What to type instead.

    Raises:
        ConfigError: If one is missing.
    """
    if any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        raise ConfigError(f"ONNX is an extra: pip install 'pkdn-lightning[export]'. Or: {otherwise}")


@contextmanager
def quiet() -> Iterator[None]:
    """Silences irrelevant output of exporters: graph rewrites, a missing torchvision, their own deprecations."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
