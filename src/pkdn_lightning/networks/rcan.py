"""RCAN (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018).

Paper: https://arxiv.org/abs/1807.02758. Public code: yulunzhang/RCAN. A network for general images, used as a baseline
in face super-resolution. It works at LR resolution: a head, residual groups of `RCAB`s with one long skip connection
("residual in residual"), pixel shuffles to HR resolution, a tail. No normalisation layers.

Differences from the public code:

- The mean shifts (24 values) are fixed, as in the paper; the code trains them, because it freezes the module instead of
  its parameters. Here DIV2K's mean is a buffer. `rename_published` folds trained shifts into the buffer and the
  neighbouring convolutions.
- Inputs and outputs are in [0, 1]; internally the range is the published 0..255.
- The residual scale of the public blocks, never applied there, is omitted.

SISN uses the same skeleton with other groups and another head.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.networks.blocks import RCAG, Up, conv3
from pkdn_lightning.networks.contract import PublishedWeights, SRNetwork, SROutput, require_image
from pkdn_lightning.networks.published_weights import Rules, count_modules, rename
from pkdn_lightning.values import Count

DIV2K_MEAN: Final = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K's training images, in [0, 1]."""


class ResidualInResidual(SRNetwork):
    """The skeleton: residual groups at LR resolution with one long skip connection, then pixel shuffles.

    Args:
        head: Maps the normalised LR face (3 channels) to `width` channels.
        group: Returns a residual group.
        scale: Enlargement from LR to HR, a power of 2.
        width: Feature channels.
        groups: Number of residual groups.

    Raises:
        ConfigError: If `scale` is not a power of 2 or `groups` is below 1.
    """

    mean: Tensor

    def __init__(self, head: nn.Module, group: Callable[[], nn.Module], *, scale: int, width: int, groups: int) -> None:
        super().__init__()
        if scale < 1 or scale & (scale - 1):
            raise ConfigError(f"scale={scale} has to be a power of 2: every pixel shuffle doubles the resolution.")
        if groups < 1:
            raise ConfigError(f"groups={groups} has to be 1 or more.")
        self.scale = scale
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(3, 1, 1))
        self.head = head
        self.groups = nn.ModuleList(group() for _ in range(groups))
        self.fuse = conv3(width, width)
        self.up = nn.ModuleList(Up(width) for _ in range(scale.bit_length() - 1))
        self.tail = conv3(width, 3)

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).

        Returns:
            `sr` (B, 3, H * scale, W * scale), and the features `head`, `group1`... and `body` (after the long skip) at
            LR resolution, and `up1`... after each pixel shuffle.

        Raises:
            ShapeError: If `lr` is not a batch of colour images.
        """
        require_image(lr, scale=self.scale, multiple=1)
        head = x = self.head((lr - self.mean) * 255)
        features: dict[str, Tensor] = {"head": head}
        for number, group in enumerate(self.groups, start=1):
            x = features[f"group{number}"] = group(x)
        x = features["body"] = head + self.fuse(x)
        for number, up in enumerate(self.up, start=1):
            x = features[f"up{number}"] = up(x)
        return SROutput(self.tail(x) / 255 + self.mean, features, {})


class ResidualGroup(nn.Module):
    """RCABs and a closing conv3, plus the input (RCAN, section 3.2).

    Args:
        channels: Width of the feature.
        blocks: Number of RCABs.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = RCAG(channels, blocks)
        self.conv = conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, C, H, W)."""
        return x + self.conv(self.blocks(x))


class RCAN(ResidualInResidual):
    """RCAN. Training in the paper: L1, Adam 1e-4, halved every 200 of 1,000 epochs.

    Args:
        scale: Enlargement from LR to HR, a power of 2.
        width: Feature channels.
        groups: Number of residual groups.
        blocks: RCABs in each group.

    Raises:
        ConfigError: If `scale` is not a power of 2 or `groups` is below 1.

    Example:
        >>> net = RCAN(width=8, groups=2, blocks=1)
        >>> list(net(torch.rand(1, 3, 16, 16)).features)
        ['head', 'group1', 'group2', 'body', 'up1', 'up2', 'up3']
    """

    compiled_blocks = (ResidualGroup,)

    def __init__(self, *, scale: Count = 8, width: Count = 64, groups: Count = 10, blocks: Count = 20) -> None:
        super().__init__(conv3(3, width), lambda: ResidualGroup(width, blocks), scale=scale, width=width, groups=groups)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`."""
        weights = rename_published(state)
        return None if weights is None else PublishedWeights(weights, skeleton_arguments(weights))


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the public code's state dict under this package's names, or None if it belongs to another network.

    `g` counts groups, `b` blocks:

    | published                         | here                                                     |
    |-----------------------------------|----------------------------------------------------------|
    | `head.0`                          | `head`                                                   |
    | `body.g.body.b.body.0`, `.2`      | `groups.g.blocks.b.conv_in`, `.conv_out`                 |
    | `body.g.body.b.body.3.conv_du.0`  | `groups.g.blocks.b.attention.squeeze`; `.2`: `.excite`   |
    | `body.g.body.20` (the last)       | `groups.g.conv`                                          |
    | `body.10` (the last)              | `fuse`                                                   |
    | `tail.0.0`, `.2`, `.4`            | `up.0.conv`, `up.1.conv`, `up.2.conv`                    |
    | `tail.1`                          | `tail`                                                   |
    | `sub_mean`, `add_mean`            | folded into `mean`, `head` and `tail`                    |

    Weights for other scales and depths are renamed in the same way (see `skeleton_arguments`).

    Args:
        state: As published, with or without the prefixes `module.` and `model.`.
    """
    renamed = rename(
        state,
        {
            r"body\.(\d+)\.body\.(\d+)\.(body\..+)": lambda m: f"groups.{m[1]}.blocks.{m[2]}.{rename_rcab(m[3])}",
            r"body\.(\d+)\.body\.\d+\.(weight|bias)": r"groups.\1.conv.\2",
            **SKELETON_RULES,
            r"head\.0\.(weight|bias)": r"head.\1",
        },
    )
    return renamed if renamed is None else fold_mean_shifts(renamed, head="head.weight")


SKELETON_RULES: Final[Rules] = {
    r"body\.\d+\.(weight|bias)": r"fuse.\1",
    r"tail\.0\.(\d+)\.(weight|bias)": lambda m: f"up.{int(m[1]) // 2}.conv.{m[2]}",  # odd numbers are shuffles
    r"tail\.1\.(weight|bias)": r"tail.\1",
    r"(sub_mean|add_mean)\.(weight|bias)": r"\1.\2",
}
"""Published names of the layers of `ResidualInResidual` except the head, for RCAN and SISN."""

_RCAB: Final = {
    "body.0": "conv_in",
    "body.2": "conv_out",
    "body.3.conv_du.0": "attention.squeeze",
    "body.3.conv_du.2": "attention.excite",
}


def skeleton_arguments(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns the size arguments of a published RCAN or SISN; several sizes were published."""
    return {
        "scale": 2 ** count_modules(weights, "up.#."),
        "groups": count_modules(weights, "groups.#."),
        "blocks": count_modules(weights, "groups.0.blocks.#."),
    }


def rename_rcab(name: str) -> str:
    """Returns the name of an RCAB's tensor, given its name in the public code of RCAN and KDFSRNet."""
    layer, _, kind = name.rpartition(".")
    return f"{_RCAB.get(layer, layer)}.{kind}"


def fold_mean_shifts(state: dict[str, Tensor], *, head: str) -> dict[str, Tensor]:
    """Returns a state dict with the mean shifts folded into `mean`, the head and the tail.

    A published shift is a 1x1 convolution, initialised to subtract or add the mean and then trained. The shift `Wx + b`
    before the head equals `W(x - mean)` with `mean = -W^-1 b`; W is merged into the head's weights, and the shift after
    the tail into the tail's. This is exact, also at the border, where the head pads with zeros.

    Args:
        state: Renamed state dict that contains `sub_mean` and `add_mean`.
        head: Name of the head's weight, whose input channels are the three colours or repetitions of them.
    """
    state = dict(state)
    dtype = state[head].dtype
    before, before_bias, after, after_bias = (
        state.pop(f"{shift}.{kind}").double() for shift in ("sub_mean", "add_mean") for kind in ("weight", "bias")
    )
    before, after = before.flatten(1), after.flatten(1)  # (3, 3, 1, 1) -> (3, 3)
    mean = -torch.linalg.solve(before, before_bias)
    weight = torch.unflatten(state[head].double(), 1, (-1, 3))  # (width, 3 * copies, 3, 3) -> (width, copies, 3, 3, 3)
    tail_weight, tail_bias = state["tail.weight"].double(), state["tail.bias"].double()
    folded = {
        "mean": mean.view(3, 1, 1) / 255,
        head: torch.einsum("okihw,ij->okjhw", weight, before).flatten(1, 2),
        "tail.weight": torch.einsum("oi,ichw->ochw", after, tail_weight),
        "tail.bias": after @ tail_bias + after_bias - mean,
    }
    return state | {name: tensor.to(dtype) for name, tensor in folded.items()}
