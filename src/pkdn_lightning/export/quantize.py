"""Quantises an ONNX model to 8 bits: smaller, on most CPUs faster, with a small loss of quality.

Uses ONNX Runtime's static quantisation (QDQ) for convolutions with their ReLUs, attention gates and sums of features.
Weights have a scale per output channel, activations the ranges of the calibration faces. The first convolutions stay in
float32, as few as the permitted loss allows: errors of the first ones pass through the whole network.

Weights have 7 bits: without VNNI instructions, x86 processors add pairs of products in 16 bits, which 8-bit weights
exceed. The same file therefore gives the same faces on every processor.
"""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pkdn_lightning.export.equalize import equalise_channels
from pkdn_lightning.export.graphs import INPUT
from pkdn_lightning.files import whole_file
from pkdn_lightning.models.card import CARD_KEY
from pkdn_lightning.models.checksum import CHECKSUM_KEY, add_checksum
from pkdn_lightning.models.onnx_int8 import CalibrationImages, on_features, quantise_nodes
from pkdn_lightning.models.onnx_rewrite import halve_weights, merge_head, pool_whole_maps, shuffle_channels_last

_BATCH = 8
_PARTS = 8  # into which the convolutions are divided; all but the last may stay in float32


class Quantised(NamedTuple):
    """The choice made in quantisation.

    Attributes:
        kept: How many of the convolutions stay in float32.
        convolutions: Number of convolutions.
        loss_db: Loss on the held-out faces.
        tried: Loss in dB, by the number of convolutions that stay in float32.
    """

    kept: int
    convolutions: int
    loss_db: float
    tried: dict[int, float]


def quantise(
    source: Path, target: Path, lr: Tensor, loss: Callable[[Path], float], *, may_lose_db: float = 0.02
) -> Quantised:
    """Writes the 8-bit form of an ONNX model.

    Args:
        source: The float32 model.
        target: The file to write.
        lr: Faces for the calibration.
        loss: Returns the loss of a file in dB, measured on other faces.
        may_lose_db: The first convolutions stay in float32, in steps of an eighth of them, until the loss is at most
            this; if it never is, all but the last eighth.
    """
    import onnx

    model = onnx.load(source)
    properties = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]  # it is another file
    del model.metadata_props[:]
    chosen = _prepare(model, lr)
    kinds = {node.name: node.op_type for node in model.graph.node}
    convolutions = [number for number, name in enumerate(chosen) if kinds[name] == "Conv"]
    tried: dict[int, float] = {}
    with TemporaryDirectory() as folder:
        ready, file = Path(folder, "ready.onnx"), Path(folder, "made.onnx")
        onnx.save(model, ready)
        for kept in sorted({len(convolutions) * part // _PARTS for part in range(_PARTS)}):
            images = CalibrationImages(INPUT, lr, _BATCH)
            quantise_nodes(ready, file, images, chosen[convolutions[kept] if kept else 0 :], reduce_range=True)
            made = onnx.load(file)
            halve_weights(made)
            del made.metadata_props[:]
            made.metadata_props.extend(properties)
            onnx.save(made, file)
            tried[kept] = loss(file)
            if tried[kept] <= may_lose_db:
                break
    _note_loss(made, tried[kept])
    with whole_file(target) as temporary:
        onnx.save(made, temporary)
        add_checksum(temporary)
    return Quantised(kept, len(convolutions), tried[kept], tried)


def _prepare(model: Any, lr: Tensor) -> list[str]:
    """Rewrites a model so that its 8-bit form is fast and near it; returns the nodes that may be quantised."""
    pool_whole_maps(model)
    equalise_channels(model, CalibrationImages(INPUT, lr, _BATCH))
    shuffle_channels_last(model)
    chosen = on_features(model)
    merge_head(model)
    names = {node.name for node in model.graph.node}
    return [name for name in chosen if name in names]


def _note_loss(model: Any, loss_db: float) -> None:
    """Writes the loss into the card, where it is one."""
    for entry in model.metadata_props:
        if entry.key == CARD_KEY:
            entry.value = json.dumps(json.loads(entry.value) | {"loss_db": round(loss_db, 4)})


def expected_loss_db(sr: Tensor, original: Tensor, hr: Tensor) -> float:
    """Returns the loss of PSNR in dB that the difference of two restorations causes.

    Takes the difference as independent of the original's own error. On few faces this is closer to the loss on many
    than the difference of both PSNR, to which the products of the two errors contribute by chance.

    Args:
        sr: Restored faces, (N, 3, H, W).
        original: The same faces, restored by the original.
        hr: The true faces.
    """
    error, own = ((sr - original).clamp(-1, 1).square(), (original - hr).square())
    means = [each.mean((1, 2, 3), dtype=torch.float64) for each in (error, own)]
    return float((10 * torch.log10(1 + means[0] / means[1].clamp_min(1e-12))).mean())


def closeness_db(sr: Tensor, original: Tensor) -> float:
    """Returns the PSNR between two restorations of the same faces, in dB, over all pixels and channels."""
    error = (sr - original).clamp(-1, 1).square().mean(dtype=torch.float64)
    return float(-10 * error.clamp_min(1e-12).log10())
