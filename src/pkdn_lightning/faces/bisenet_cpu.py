"""BiSeNet on the CPU: in float32 by PyTorch, in 8 bits by ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.models.onnx_int8 import CalibrationImages, on_features, quantise_nodes, quiet
from pkdn_lightning.models.onnx_rewrite import pool_whole_maps
from pkdn_lightning.models.runtimes import onnx_session
from pkdn_lightning.networks.bisenet import BiSeNet
from pkdn_lightning.networks.winograd import faster_on_cpus

_IMAGE = "image"

Logits = Callable[[Tensor, int], Tensor]
"""Computes logits, (B, classes, size_px, size_px), from what the network reads and `size_px`."""


class _Coarse(nn.Module):
    """Returns the logits before they are enlarged to the image's size, most of which is not needed."""

    def __init__(self, net: BiSeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net.coarse(image)


def in_float32(net: BiSeNet) -> Logits:
    """Returns the network for inference in float32."""
    faster = faster_on_cpus(_Coarse(net))
    return lambda images, size_px: _resized(faster(images), images.shape[-1], size_px)


def in_8_bits(net: BiSeNet, images: Tensor) -> Logits:
    """Returns the network in 8 bits.

    Args:
        net: The network on the CPU.
        images: What the network reads, (N, 3, H, W) with N of 2 or more; they determine the ranges of the activations.
            Later images have the same height and width.
    """
    import onnx

    shapes = {_IMAGE: {0: torch.export.Dim("batch", min=1)}}
    with quiet(), TemporaryDirectory() as folder:
        # Two images: torch.export takes a batch of one for a constant.
        program = torch.export.export(_Coarse(net), (images[:1].expand(2, -1, -1, -1).clone(),), dynamic_shapes=shapes)
        written = torch.onnx.export(program, (), dynamo=True, input_names=[_IMAGE], verbose=False)
        assert written is not None  # None only with dynamo=False
        model = written.model_proto
        pool_whole_maps(model)
        plain, quantised = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, plain)
        *_, last = (node.name for node in model.graph.node if node.op_type == "Conv")  # in 8 bits, logits would tie
        nodes = [name for name in on_features(model) if name != last]
        quantise_nodes(plain, quantised, CalibrationImages(_IMAGE, images, 1), nodes)
        session = onnx_session(quantised)

    def logits(images: Tensor, size_px: int) -> Tensor:
        (coarse,) = session.run(None, {_IMAGE: images.contiguous().numpy()})
        return _resized(torch.from_numpy(coarse), images.shape[-1], size_px)

    return logits


def _resized(coarse: Tensor, input_px: int, size_px: int) -> Tensor:
    """Returns logits enlarged to `input_px` as the network does, and from there resized to `size_px`.

    For smaller sizes, only the points that the result consists of are computed.
    """
    if size_px > input_px:
        full = F.interpolate(coarse, input_px, mode="bilinear", align_corners=True)
        return F.interpolate(full, size_px, mode="bilinear")
    centres = ((torch.arange(size_px) + 0.5) * (input_px / size_px)).floor()  # mode="nearest-exact"
    line = centres * (2 / (input_px - 1)) - 1
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    return F.grid_sample(coarse, points.expand(len(coarse), -1, -1, -1), padding_mode="border", align_corners=True)
