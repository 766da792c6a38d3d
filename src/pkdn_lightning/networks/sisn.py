"""SISN (Lu et al., "Face Hallucination via Split-Attention in Split-Attention Network", ACM MM 2021).

Paper: https://doi.org/10.1145/3474085.3475682 (https://arxiv.org/abs/2010.11575). Public code:
mdswyz/SISN-Face-Hallucination (MIT). RCAN's skeleton with other groups: a block splits its feature into four, weights
the splits per channel by a softmax (split attention, after ResNeSt), and a group has a block on its skip connection.

Differences from the public code:

- The code upsamples the LR face by nearest neighbour and folds it by space-to-depth, which repeats the LR face 64 times
  (x8). Here it is repeated directly, with the same result.
- The code's blocks contain unused 1x1 convolutions, 450,560 parameters in total; they are omitted.
- The mean shifts are folded as described in `rcan`. Inputs and outputs are in [0, 1]; internally the range is the
  published 0..255.

Batch norm follows a global pooling, so training needs batches of two or more faces. The published training: L1, Adam
2e-4, batches of 10.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import ShapeError
from pkdn_lightning.functional.memory_format import in_format_of
from pkdn_lightning.networks.blocks import conv1, conv3
from pkdn_lightning.networks.contract import PublishedWeights, SROutput
from pkdn_lightning.networks.published_weights import rename
from pkdn_lightning.networks.rcan import SKELETON_RULES, ResidualInResidual, fold_mean_shifts, skeleton_arguments
from pkdn_lightning.values import Count


class SplitAttention(nn.Module):
    """Computes several splits of a feature and sums them with softmax weights per channel.

    Args:
        channels: Width of the feature, a multiple of `splits`.
        splits: Number of splits (radix).
    """

    def __init__(self, channels: int, splits: int = 4) -> None:
        super().__init__()
        self.splits = splits
        self.conv = nn.Conv2d(channels, splits * channels, 3, padding=1, groups=splits, bias=False)
        self.norm = nn.BatchNorm2d(splits * channels)
        self.squeeze, self.squeeze_norm = conv1(channels, channels), nn.BatchNorm2d(channels)
        self.excite = conv1(channels, splits * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the weighted sum, (B, C, H, W)."""
        splits = torch.unflatten(F.relu(self.norm(self.conv(x))), 1, (self.splits, -1))  # (B, splits, C, H, W)
        pooled = splits.sum(1).mean((-2, -1), keepdim=True)
        logits = self.excite(F.relu(self.squeeze_norm(self.squeeze(pooled))))
        return in_format_of(x, (splits * torch.unflatten(logits, 1, (self.splits, -1)).softmax(1)).sum(1))


class ISAB(nn.Module):
    """Internal-feature split attention block: conv1, split attention, conv1, plus the input; ReLU at the end.

    Args:
        channels: Width of the feature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm_in = nn.BatchNorm2d(channels)
        self.attention = SplitAttention(channels)
        self.conv_out = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm_out = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        inner = self.attention(F.relu(self.norm_in(self.conv_in(x))))
        return F.relu(x + self.norm_out(self.conv_out(inner)))


class ESAG(nn.Module):
    """External-internal split attention group: blocks and a final conv3, plus a block on the skip connection.

    Args:
        channels: Width of the feature.
        blocks: Number of blocks, not counting the one on the skip.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ISAB(channels) for _ in range(blocks)))
        self.conv = conv3(channels, channels)
        self.skip = ISAB(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        return self.conv(self.blocks(x)) + self.skip(x)


class FoldedHead(nn.Module):
    """conv3 over the LR face after nearest-neighbour upsampling and space-to-depth.

    Space-to-depth turns each `scale` x `scale` tile into channels (dy, dx, colour), colour fastest. All pixels of a
    tile equal one LR pixel, so the result is the LR face repeated along the channels.

    Args:
        scale: Side of the tile.
        width: Feature channels.
    """

    def __init__(self, scale: int, width: int) -> None:
        super().__init__()
        self.copies = scale**2
        self.conv = conv3(3 * self.copies, width)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns the feature (B, width, H, W) of the LR face (B, 3, H, W)."""
        return self.conv(lr.repeat(1, self.copies, 1, 1))


class SISN(ResidualInResidual):
    """SISN; `RCAN`'s skeleton, features included.

    Args:
        scale: Enlargement from LR to HR, a power of 2.
        width: Feature channels, a multiple of 4.
        groups: Number of residual groups.
        blocks: Split attention blocks in each group, not counting the one on the skip.

    Raises:
        ConfigError: If `scale` is not a power of 2 or `groups` is below 1.

    Example:
        >>> net = SISN(width=8, groups=2, blocks=1)
        >>> list(net(torch.rand(2, 3, 16, 16)).features)
        ['head', 'group1', 'group2', 'body', 'up1', 'up2', 'up3']
    """

    compiled_blocks = (ESAG,)

    def __init__(self, *, scale: Count = 8, width: Count = 64, groups: Count = 10, blocks: Count = 10) -> None:
        super().__init__(FoldedHead(scale, width), lambda: ESAG(width, blocks), scale=scale, width=width, groups=groups)

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W); at least 2 in training.

        Returns:
            See `ResidualInResidual`.

        Raises:
            ShapeError: If `lr` is not a batch of RGB images, or has a single face in training.
        """
        if self.training and lr.shape[0] == 1:
            raise ShapeError(
                "SISN cannot be trained on a batch of 1 face: batch norm after its global pooling needs more than one "
                "value per channel. Use data.batch_size=2 or more."
            )
        return super().forward(lr)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        return None if weights is None else PublishedWeights(weights, skeleton_arguments(weights))


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the public code's state dict under this package's names, or None if it belongs to another network.

    `g` counts groups, `b` blocks:

    | published                               | here                                                |
    |-----------------------------------------|-----------------------------------------------------|
    | `head.1`                                | `head.conv`                                         |
    | `body.g.body.b`                         | `groups.g.blocks.b`                                 |
    | `body.g.IA`                             | `groups.g.skip`                                     |
    | in both: `conv1`, `bn1`                 | `conv_in`, `norm_in`                                |
    | `conv2.conv`, `conv2.bn0`               | `attention.conv`, `attention.norm`                  |
    | `conv2.conv1x1_1`, `conv2.bn1`          | `attention.squeeze`, `attention.squeeze_norm`       |
    | `conv2.conv1x1_2`                       | `attention.excite`                                  |
    | `conv3`, `bn3`                          | `conv_out`, `norm_out`                              |
    | `skip` (never used)                     | dropped                                             |
    | `body.g.body.10` (the last)             | `groups.g.conv`                                     |
    | `body.10`, `tail`, `sub_mean`, `add_mean` | as in RCAN: `fuse`, `up`, `tail`, `mean`          |

    Args:
        state: As published, with or without the prefixes `module.` and `model.`.
    """
    layers = {
        "conv1": "conv_in",
        "bn1": "norm_in",
        "conv2.conv": "attention.conv",
        "conv2.bn0": "attention.norm",
        "conv2.conv1x1_1": "attention.squeeze",
        "conv2.bn1": "attention.squeeze_norm",
        "conv2.conv1x1_2": "attention.excite",
        "conv3": "conv_out",
        "bn3": "norm_out",
    }

    def layer(match: re.Match[str]) -> str:
        block = "skip" if match[2] == "IA" else match[2].replace("body", "blocks")
        return f"groups.{match[1]}.{block}.{layers[match[3]]}.{match[4]}"

    renamed = rename(
        state,
        {
            rf"body\.(\d+)\.(body\.\d+|IA)\.({'|'.join(map(re.escape, layers))})\.(\w+)": layer,
            r"body\.\d+\.(?:body\.\d+|IA)\.skip\.weight": None,
            r"body\.(\d+)\.body\.\d+\.(weight|bias)": r"groups.\1.conv.\2",
            **SKELETON_RULES,
            r"head\.1\.(weight|bias)": r"head.conv.\1",
        },
    )
    return renamed if renamed is None else fold_mean_shifts(renamed, head="head.conv.weight")
