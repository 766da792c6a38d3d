"""FishFSRNet: face super-resolution guided by a parsing map estimated from the LR face.

Chenyang Wang, Junjun Jiang, Zhiwei Zhong, Deming Zhai, Xianming Liu, "Super-Resolving Face Image by Facial Parsing
Information", IEEE TBIOM 5(4), 2023, https://doi.org/10.1109/TBIOM.2023.3264223; code
https://github.com/wcy-cs/FishFSRNet.

ParsingNet estimates a parsing map of the LR face. The restoration network upsamples to full resolution (the fish's
tail), downsamples to LR resolution (body), and upsamples again (head). Each stage reads the parsing map, resized to the
stage, and multi-scale refine blocks fuse the features of all resolutions of the previous part. PKDN's fusion blocks are
derived from these (`blocks.PFB`, `blocks.FFB`).

The layers follow the public code. Differences:

- In its last stage, the code runs the first of two fusion blocks twice and the second never, by an index error. Here
  each runs once, as in all other stages. The number of parameters is the same.
- Three unused 1x1 convolutions of 8,256 parameters each are omitted: 8,398,915 parameters instead of 8,423,683. With
  the 594,371 of ParsingNet the network has 8,993,286.
- ParsingNet is part of the network, and the loss of the restored face trains it, too, as in the code's first version.
  The published training trains ParsingNet first and stores its maps in 8-bit files.
- The published networks for x4 and x16 have other fusion blocks. Here other scales have more or fewer stages of the x8
  network.

Initialisation is PyTorch's default, as in the code.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pkdn_lightning.errors import CheckpointError, ConfigError
from pkdn_lightning.networks.blocks import (
    Cascade,
    ChannelAttention,
    CSARAttention,
    Down,
    ResidualBlock,
    Up,
    conv1,
    conv3,
)
from pkdn_lightning.networks.contract import PublishedWeights, SRNetwork, SROutput, require_image
from pkdn_lightning.networks.published_weights import bare
from pkdn_lightning.values import Count


class ParsingNet(nn.Module):
    """Estimates the parsing map as an RGB image at the LR resolution.

    Args:
        width: Feature channels.
        blocks: Number of residual blocks.
    """

    def __init__(self, width: Count = 64, blocks: Count = 8) -> None:
        super().__init__()
        self.head = conv3(3, width)
        self.body = nn.Sequential(*(ResidualBlock(width, scale=0.2) for _ in range(blocks)))
        self.tail = conv3(width, 3)

    def forward(self, lr: Tensor) -> Tensor:
        """Returns parsing maps nominally in [0, 1], (B, 3, H, W), of LR faces in [0, 1], (B, 3, H, W)."""
        return self.tail(self.body(self.head(lr)))


class PAFB(nn.Module):
    """Parsing map attention fusion block (`PCSR1` in the code).

    One branch refines the feature by spatial and channel attention, the other fuses it with the parsing map; their
    outputs are concatenated, projected, and added to the feature.

    Args:
        channels: Width of the feature.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.refine_in, self.refine_out = conv3(channels, channels), conv3(channels, channels)
        self.spatial_attention, self.channel_attention = CSARAttention(channels), ChannelAttention(channels, "fish")
        self.fuse_attention = conv1(2 * channels, channels)
        self.project_feature, self.project_parsing = conv3(channels, channels), conv3(3, channels)
        self.fuse_parsing = conv3(2 * channels, channels)
        self.fuse = conv1(2 * channels, channels)

    def forward(self, x: Tensor, parsing: Tensor) -> Tensor:
        """Returns the fused feature, (B, C, H, W), of `x`, (B, C, H, W), and `parsing`, (B, 3, H', W')."""
        parsing = F.interpolate(parsing, size=x.shape[-2:], mode="nearest")
        refined = self.refine_out(F.relu(self.refine_in(x)))
        attended = torch.cat([self.spatial_attention(refined), self.channel_attention(refined)], dim=1)
        projected = torch.cat([F.relu(self.project_feature(x)), F.relu(self.project_parsing(parsing))], dim=1)
        return x + self.fuse(torch.cat([self.fuse_parsing(projected), self.fuse_attention(attended)], dim=1))


class MSRB(nn.Module):
    """Multi-scale refine block: fuses retained features of several resolutions into a feature.

    Retained features are resized to the feature: smaller ones by nearest neighbour, larger ones by convolutions with
    stride 2. The difference to each passes residual blocks (the "error feedback") and is added to the feature; the
    sums are concatenated, projected, gated by channel attention, and added to the feature.

    Args:
        channels: Width of all features.
        sizes: Number of retained features, each twice as large as the previous one.
        position: Index of the retained feature with the feature's resolution.
    """

    def __init__(self, channels: int, sizes: int, position: int) -> None:
        super().__init__()
        self.resize = nn.ModuleList(_resizing(channels, position - index) for index in range(sizes))
        self.project = nn.ModuleList(
            nn.Sequential(ResidualBlock(channels), ResidualBlock(channels)) for _ in range(sizes)
        )
        self.fuse = conv1(sizes * channels, channels)
        self.attention = ChannelAttention(channels, "fish")

    def forward(self, x: Tensor, retained: Sequence[Tensor]) -> Tensor:
        """Returns the refined feature, (B, C, H, W).

        Args:
            x: Feature, (B, C, H, W).
            retained: Features, from the smallest to the largest.
        """
        refined = [
            x + project(x - resize(feature))
            for resize, project, feature in zip(self.resize, self.project, retained, strict=True)
        ]
        return x + self.attention(self.fuse(torch.cat(refined, dim=1)))


class FishFSRNet(SRNetwork):
    """The network.

    Args:
        scale: Enlargement from LR to HR; a power of 2.
        width: Feature channels, also of ParsingNet.
        pafbs: Parsing map attention fusion blocks in each stage.

    Raises:
        ConfigError: If `scale` is not a power of 2 above 1, or another number is below 1.

    Example:
        >>> output = FishFSRNet(width=8, pafbs=1)(torch.rand(1, 3, 16, 16))
        >>> output.sr.shape, output.extras["parsing"].shape
        (torch.Size([1, 3, 128, 128]), torch.Size([1, 3, 16, 16]))
    """

    compiled_blocks = (Cascade, MSRB)

    def __init__(self, *, scale: Count = 8, width: Count = 64, pafbs: Count = 2) -> None:
        super().__init__()
        if scale < 2 or scale & (scale - 1) or min(width, pafbs) < 1:
            raise ConfigError(
                f"scale={scale}, width={width} and pafbs={pafbs}: scale has to be a power of 2 (2, 4, 8, 16...), the "
                "others 1 or more."
            )
        self.scale = scale
        self.levels = levels = scale.bit_length() - 1
        tail = [f"up{level + 1}" for level in range(levels)]
        body = [f"down{level + 1}" for level in range(levels)]
        head = [f"up{levels + level + 1}" for level in range(levels)]
        self.parsing_net = ParsingNet(width)
        self.head = conv3(3, width)
        self.resample = nn.ModuleDict(
            {stage: Up(width) if stage.startswith("up") else Down(width) for stage in (*tail, *body, *head)}
        )
        self.pafbs = nn.ModuleDict({stage: Cascade(PAFB(width) for _ in range(pafbs)) for stage in self.resample})
        # The refined stages run from the last of the tail to the last but one of the head.
        positions = [*reversed(range(levels)), *range(levels)]
        refined = [tail[-1], *body, *head[:-1]]
        self.refine = nn.ModuleDict(
            {stage: MSRB(width, levels, position) for stage, position in zip(refined, positions, strict=True)}
        )
        self.bottleneck = conv3(width, width)
        self.tail = conv3(width, 3)

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).

        Returns:
            `sr`, (B, 3, H * scale, W * scale); `features`, the output of each stage (`up1`... of the tail, `down1`...
            of the body, `bottleneck`, the remaining `up`s of the head); `extras["parsing"]`, the estimated parsing maps
            of the LR faces, (B, 3, H, W), nominally in [0, 1].

        Raises:
            ShapeError: If `lr` is not a batch of RGB images.
        """
        require_image(lr, scale=self.scale, multiple=1)
        parsing = self.parsing_net(lr)
        x = self.head(lr)

        features: dict[str, Tensor] = {}
        tail: list[Tensor] = []  # both in order of increasing resolution
        body: list[Tensor] = []
        bottom = f"down{self.levels}"
        for stage, resample in self.resample.items():
            x = resample(x)
            if len(tail) < self.levels:
                tail.append(x)
            elif len(body) < self.levels:
                body.insert(0, x)
            x = self.pafbs[stage](x, parsing)
            if stage in self.refine:
                x = self.refine[stage](x, body if len(body) == self.levels else tail)
            features[stage] = x
            if stage == bottom:
                x = features["bottleneck"] = self.bottleneck(x)
        return SROutput(self.tail(x), features, {"parsing": parsing})

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor]) -> PublishedWeights | None:
        """Returns the public code's weights; see `rename_published`.

        Raises:
            CheckpointError: If they are those of the restoration network or of ParsingNet alone.
        """
        weights = rename_published(state) or rename_published({f"parsing.{bare(name)}": state[name] for name in state})
        if weights is None:
            return None
        held = {name.startswith("parsing_net.") for name in weights}
        if len(held) == 1:
            part, other = ("ParsingNet", "FISHNET") if held == {True} else ("FISHNET", "ParsingNet")
            raise CheckpointError(
                f"holds FishFSRNet's {part}. Its authors publish {other} as another file, which is needed, too. Write "
                "both into one and give that:\n"
                """  python -c "from torch import load, save; save({'sr': load('FISHNET.pth', 'cpu'), """
                """'parsing': load('ParsingNet.pth', 'cpu')}, 'fishfsrnet.pth')\""""
            )
        return PublishedWeights(weights)


def _resizing(channels: int, doublings: int) -> nn.Module:
    """Returns a module that scales a feature's sides by `2**doublings`; negative numbers downsample."""
    if doublings > 0:
        return nn.Upsample(scale_factor=2**doublings, mode="nearest")
    layers: list[nn.Module] = []
    for _ in range(-doublings):
        layers += [nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])  # the identity for equal sizes


_STAGES: Final = {  # public names of resampling and fusion blocks, index of the refine block
    "up1": ("up1", "up_stage1", None),
    "up2": ("up2", "up_stage2", None),
    "up3": ("up3", "up_stage3", 0),
    "down1": ("down1", "down_stage1", 1),
    "down2": ("down2", "down_stage2", 2),
    "down3": ("down3", "down_stage3", 3),
    "up4": ("up21", "up2_stage1", 4),
    "up5": ("up22", "up2_stage2", 5),
    "up6": ("up23", "up2_stage3", None),
}
_PAFB: Final = {
    "body.0": "refine_in",
    "body.2": "refine_out",
    "attention_layer1.spatial_layer1": "spatial_attention.expand",
    "attention_layer1.spatial_layer3": "spatial_attention.project",
    "attention_layer2.mlp.1": "channel_attention.squeeze",
    "attention_layer2.mlp.3": "channel_attention.excite",
    "conv": "fuse_attention",
    "conv_feature.0": "project_feature",
    "conv_parsing.0": "project_parsing",
    "conv_fusion": "fuse_parsing",
    "attention_fusion": "fuse",
}
_MSRB: Final = {
    "attention.mlp.1": "attention.squeeze",
    "attention.mlp.3": "attention.excite",
    "conv": "fuse",
    **{
        f"refine{2 ** (index + 1)}.conv.{block}.body.{theirs}": f"project.{index}.{block}.{ours}"
        for index in range(3)
        for block in range(2)
        for theirs, ours in (("0", "conv_in"), ("2", "conv_out"))
    },
}
_MSRB_RESIZE: Final = {  # by the position of the feature among the three resolutions
    0: {"down1": "resize.1.0", "down2.0": "resize.2.0", "down2.2": "resize.2.2"},
    1: {"down1": "resize.2.0"},
    2: {},
}
_UNUSED: Final = ("conv_tail1.", "conv_tail2.", "conv_tail3.", "up2_stage3.1.", "sub_mean.", "add_mean.", "reduc.")


def _published_modules() -> dict[str, tuple[str, ...]]:
    """Maps the public name of each layer to its names in this package."""
    names: dict[str, tuple[str, ...]] = {
        "head.0": ("head",),
        "conv": ("bottleneck",),
        "tail.0": ("tail",),
        "parsing.head.0": ("parsing_net.head",),
        "parsing.feature.0": ("parsing_net.tail",),
    }
    for block in range(8):
        names[f"parsing.body.{block}.body.0"] = (f"parsing_net.body.{block}.conv_in",)
        names[f"parsing.body.{block}.body.2"] = (f"parsing_net.body.{block}.conv_out",)
    for stage, (resample, pafbs, refine) in _STAGES.items():
        # Depending on the version of the code, the upsampling convolution is `0` or `0.0`.
        for place in ("0", "0.0") if stage.startswith("up") else ("1",):
            names[f"{resample}.{place}"] = (f"resample.{stage}.conv",)
        for theirs, ours in _PAFB.items():
            first, second = (f"pafbs.{stage}.{index}.{ours}" for index in range(2))
            if stage == "up6":  # the code runs this block twice
                names[f"{pafbs}.0.{theirs}"] = (first, second)
            else:
                names[f"{pafbs}.0.{theirs}"], names[f"{pafbs}.1.{theirs}"] = (first,), (second,)
        if refine is not None:
            parts = _MSRB | _MSRB_RESIZE[(2, 1, 0, 0, 1, 2)[refine]]
            names |= {f"refine2.{refine}.{theirs}": (f"refine.{stage}.{ours}",) for theirs, ours in parts.items()}
    return names


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns published weights under this package's names, for default options; None for other networks.

    ParsingNet and the restoration network are published separately, with colliding names. Both together have the
    prefixes of the code's first version: `sr.` for the restoration network, which may lack it, `parsing.` for
    ParsingNet. One of them alone gives the tensors of that part.

    | public                                         | here                                                |
    |------------------------------------------------|-----------------------------------------------------|
    | `head.0`, `conv`, `tail.0`                     | `head`, `bottleneck`, `tail`                        |
    | `up1`..., `down1`..., `up21`...                | `resample.up1`..., `.down1`..., `.up4`...           |
    | `up_stage1`, `down_stage1`, `up2_stage1`...    | `pafbs.up1`, `.down1`, `.up4`...                    |
    | `up2_stage3.0`, run twice                      | `pafbs.up6.0` and `pafbs.up6.1`                     |
    | `refine2.0` to `refine2.5`                     | `refine.up3`, `.down1` to `.down3`, `.up4`, `.up5`  |
    | `parsing.head.0`, `.body.0.body`, `.feature.0` | `parsing_net.head`, `.body.0`, `.tail`              |
    | `up2_stage3.1`, `conv_tail1` to `conv_tail3`   | dropped: never used                                 |
    | `sub_mean`, `add_mean`, `reduc`                | dropped: never used (first version)                 |

    The matrices of the channel attention become 1x1 convolutions.

    Args:
        state: State dict of the public code's x8 `FISHNET`, its `ParsingNet`, or both, with or without the prefixes
            `module.` and `model.`.
    """
    names = _published_modules()
    renamed: dict[str, Tensor] = {}
    found: set[str] = set()
    for key, value in state.items():
        key = bare(key).removeprefix("sr.")
        if key.startswith(_UNUSED):
            continue
        module, _, parameter = key.rpartition(".")
        if module not in names:
            return None
        for name in names[module]:
            renamed[f"{name}.{parameter}"] = value[:, :, None, None] if value.ndim == 2 else value
            found.add(name)
    wanted = {name for ours in names.values() for name in ours}
    parts = [{name for name in wanted if name.startswith("parsing_net.") is held} for held in (True, False)]
    return renamed if found and all(part <= found or not part & found for part in parts) else None
