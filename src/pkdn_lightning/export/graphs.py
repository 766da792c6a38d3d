"""Writes networks as torch.export programs and ONNX models, which run without this package."""

import io
import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pkdn_lightning.data.degradation import describe
from pkdn_lightning.files import whole_file
from pkdn_lightning.models.card import CARD_KEY
from pkdn_lightning.models.checksum import add_checksum
from pkdn_lightning.models.onnx_int8 import check_onnx, quiet
from pkdn_lightning.models.torch_runtimes import fixed_size
from pkdn_lightning.networks.blocks import Down

OPSET: Final = 20
INPUT, OUTPUT = "lr", "sr"
_AXES: Final = ("batch", "", "height", "width")


class _Restored(nn.Module):
    """Returns only the tensor `sr` of a network: graphs cannot return named tuples."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.net(lr).sr
        return sr


def trace(net: nn.Module, lr_px: int) -> torch.export.ExportedProgram:
    """Returns the torch.export program of a network in eval mode.

    Batch and image size are dynamic. With Fourier transforms the image size is fixed to `lr_px`, because ONNX Runtime
    does not support them with dynamic sizes.
    """
    net = _without_unshuffles(net)
    program = _traced(net, lr_px, torch.export.Dim.AUTO)
    if any("fft" in str(node.target) for node in program.graph.nodes):
        return _traced(net, lr_px, torch.export.Dim.STATIC)
    return program


def _without_unshuffles(net: nn.Module) -> nn.Module:
    """Returns a copy with strided convolutions in place of inverse pixel shuffles, which are slow in most runtimes."""
    net = deepcopy(net)
    for name, block in list(net.named_modules()):
        if isinstance(block, Down):
            net.set_submodule(name, block.as_convolution())
    return net


def _traced(net: nn.Module, lr_px: int, sides: Any) -> torch.export.ExportedProgram:
    shapes = {INPUT: {0: torch.export.Dim("batch", min=1), 2: sides, 3: sides}}
    with quiet():
        return torch.export.export(_Restored(net.eval()), (torch.rand(2, 3, lr_px, lr_px),), dynamic_shapes=shapes)


def write_pt2(program: torch.export.ExportedProgram, card: Mapping[str, Any], file: Path) -> None:
    """Writes a program with its card."""
    content = io.BytesIO()  # torch's own file writer ends the process on a full disk
    with quiet():
        torch.export.save(program, content, extra_files={CARD_KEY: json.dumps(card)})
    with whole_file(file) as temporary:
        temporary.write_bytes(content.getbuffer())
        add_checksum(temporary)


def write_onnx(program: torch.export.ExportedProgram, card: Mapping[str, Any], file: Path) -> None:
    """Writes a program as one ONNX file, with its card and the format of its input.

    Raises:
        ConfigError: If the extra is not installed.
    """
    check_onnx("formats=[safetensors,pt2]")
    import onnx

    with quiet():
        written = torch.onnx.export(
            program, (), dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, verbose=False
        )
    assert written is not None  # None only with dynamo=False
    model = written.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's notes: paths of this machine, half as large as 8-bit weights
    for value, scale in ((model.graph.input[0], 1), (model.graph.output[0], int(card["scale"]))):
        _name_axes(value, program, scale)
    onnx.helper.set_model_props(model, properties(card))
    model.doc_string = f"Face super-resolution x{card['scale']}: {card.get('experiment') or ''}"
    onnx.checker.check_model(model)
    with whole_file(file) as temporary:
        onnx.save(model, temporary)
        add_checksum(temporary)


def properties(card: Mapping[str, Any]) -> dict[str, str]:
    """Returns the metadata of an ONNX file: the card, and a description of input and output."""
    return {
        CARD_KEY: json.dumps(card),
        "scale": str(card["scale"]),
        "range": "input and output in [0, 1], output not clamped",
        "channels": "RGB",
        "layout": "NCHW, float32",
        "degradation": f"LR is {describe(card)}",
    }


def _name_axes(value: Any, program: torch.export.ExportedProgram, scale: int) -> None:
    """Names the dynamic axes and sets the sizes of the fixed ones: the exporter writes `s75` and `'16'`."""
    axes = value.type.tensor_type.shape.dim
    varies = fixed_size(program) is None
    for number, (axis, name) in enumerate(zip(axes, _AXES, strict=True)):
        if number == 0 or (number > 1 and varies):
            axis.dim_param = name if scale == 1 or number == 0 else f"{scale}*{name}"
        elif axis.dim_param.isdigit():
            axis.dim_value = int(axis.dim_param)
