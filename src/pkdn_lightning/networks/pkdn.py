"""PKDN's teacher and student (Yang et al. 2024, https://arxiv.org/abs/2409.14385, sections 3.1 and 3.2).

Both are the same auto-encoder over the bicubically upsampled LR face: a head, levels that halve the resolution, a
bottleneck, levels that double it again, a tail. A level is a resampling block and a *stage*. The teacher's stages are
parsing map fusion blocks, and its decoder fuses encoder features (FFB); the student's stages are cascades of RCABs,
and it reads only the LR face. The authors' code is not public. Where the paper leaves a detail open, the default
follows KDFSRNet and FishFSRNet, on which it builds, and the alternative is an option.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pkdn_lightning.errors import ConfigError, ShapeError
from pkdn_lightning.functional.resize import bicubic
from pkdn_lightning.networks.blocks import (
    FFB,
    PFB,
    RCAG,
    Cascade,
    ChannelAttentionKind,
    Down,
    SpatialAttentionKind,
    Up,
    conv3,
)
from pkdn_lightning.networks.contract import SRNetwork, SROutput, require_image
from pkdn_lightning.values import Count, Natural


class AutoEncoder(SRNetwork):
    """The auto-encoder of teacher and student.

    Args:
        stage: Returns the stage of a level. Levels count from 0: the encoder's, the bottleneck, the decoder's.
        scale: Enlargement from LR to HR.
        width: Feature channels, the same at all levels.
        levels: Number of halvings and doublings of the resolution.
        prior_channels: Channels concatenated with the upsampled LR face at the head.
        ffb: Fuses encoder features into the decoder.
        ffb_skip: Adds the decoder feature once more behind each fusion, as FishFSRNet does.
        ffb_first: Fuses before the stage (up, FFB, stage) instead of after it (up, stage, FFB).
        ffb_source: Encoder features to fuse: the output of each resampling block (`resampled`, as in FishFSRNet) or of
            each stage (`stage`).
        global_residual: Adds the upsampled LR face to the output. Not in the paper; it helps short trainings.

    Raises:
        ConfigError: If `scale`, `width` or `levels` is below 1.
    """

    compiled_blocks = (Cascade, FFB)

    def __init__(
        self,
        stage: Callable[[int], nn.Module],
        *,
        scale: int,
        width: int,
        levels: int,
        prior_channels: int,
        ffb: bool,
        ffb_skip: bool,
        ffb_first: bool,
        ffb_source: Literal["resampled", "stage"],
        global_residual: bool,
    ) -> None:
        super().__init__()
        if min(scale, width, levels) < 1:
            raise ConfigError(f"scale={scale}, width={width} and levels={levels} have to be 1 or more.")
        self.scale = scale
        self.ffb_first = ffb_first
        self.ffb_source = ffb_source
        self.global_residual = global_residual
        self.head = conv3(3 + prior_channels, width)
        self.down = nn.ModuleList(Down(width) for _ in range(levels))
        self.encoder = nn.ModuleList(stage(level) for level in range(levels))
        self.bottleneck = stage(levels)
        self.up = nn.ModuleList(Up(width) for _ in range(levels))
        self.decoder = nn.ModuleList(stage(levels + 1 + level) for level in range(levels))
        self.ffb = nn.ModuleList(FFB(width, skip=ffb_skip) for _ in range(levels if ffb else 0))
        self.tail = conv3(width, 3)

    def restore(self, lr: Tensor, head_prior: Tensor | None = None, stage_prior: Tensor | None = None) -> SROutput:
        """Restores faces with a prior at the head, at every stage, or without one.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).
            head_prior: Concatenated with the upsampled LR face, (B, P, H * scale, W * scale).
            stage_prior: Second argument of every stage, of the same shape.

        Returns:
            The restored faces, and the output of each level as `down1`..., `bottleneck`, `up1`....

        Raises:
            ShapeError: If the upsampled sides are not divisible by `2 ** levels`.
        """
        require_image(lr, scale=self.scale, multiple=2 ** len(self.down))
        prior = () if stage_prior is None else (stage_prior,)
        enlarged = bicubic(lr, (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale))
        x = self.head(enlarged if head_prior is None else torch.cat([enlarged, head_prior], dim=1))

        features: dict[str, Tensor] = {}
        retained = [x]
        for number, (down, stage) in enumerate(zip(self.down, self.encoder, strict=True), start=1):
            resampled = down(x)
            x = stage(resampled, *prior)
            retained.append(resampled if self.ffb_source == "resampled" else x)
            features[f"down{number}"] = x
        x = features["bottleneck"] = self.bottleneck(x, *prior)
        retained.pop()  # the smallest: no decoder level has its size
        for index, (up, stage) in enumerate(zip(self.up, self.decoder, strict=True)):
            x = self._decode(index, stage, up(x), retained.pop(), prior)
            features[f"up{index + 1}"] = x

        sr = self.tail(x)
        return SROutput(sr + enlarged if self.global_residual else sr, features, {})

    def _decode(self, index: int, stage: nn.Module, x: Tensor, retained: Tensor, prior: tuple[Tensor, ...]) -> Tensor:
        if not self.ffb:
            return stage(x, *prior)
        if self.ffb_first:
            return stage(self.ffb[index](x, retained), *prior)
        return self.ffb[index](stage(x, *prior), retained)


class PKDNTeacher(AutoEncoder):
    """The teacher: restores faces from the LR face and the parsing map of the HR face.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels.
        levels: Number of halvings and doublings of the resolution.
        parsing_channels: Channels of the encoded parsing map: 3 (colour), 19 (one-hot) or 1 (index).
        pfb: Uses parsing map fusion blocks. Without them (Table 2) the stages are the student's, and the parsing map
            enters at the head, as in KDFSRNet.
        pfbs_per_level: Parsing map fusion blocks in each stage.
        rcabs_per_level: RCABs in each stage if `pfb` is off; 2 gives KDFSRNet's teacher.
        channel_attention: Channel attention of the PFBs, see `ChannelAttention`.
        spatial_attention: Spatial attention of the PFBs, see `PFB`.
        ffb: Uses feature fusion blocks (Table 2).
        ffb_skip: See `AutoEncoder`.
        ffb_first: See `AutoEncoder`.
        ffb_source: See `AutoEncoder`.
        global_residual: See `AutoEncoder`.

    Example:
        >>> teacher = PKDNTeacher(width=8)
        >>> teacher(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 128, 128)).sr.shape
        torch.Size([1, 3, 128, 128])
    """

    uses_parsing = True

    def __init__(
        self,
        *,
        scale: Count = 8,
        width: Count = 64,
        levels: Count = 4,
        parsing_channels: Count = 3,
        pfb: bool = True,
        pfbs_per_level: Count = 1,
        rcabs_per_level: Natural | Sequence[Natural] = 2,
        channel_attention: ChannelAttentionKind = "fish",
        spatial_attention: SpatialAttentionKind = "csar",
        ffb: bool = True,
        ffb_skip: bool = True,
        ffb_first: bool = False,
        ffb_source: Literal["resampled", "stage"] = "resampled",
        global_residual: bool = False,
    ) -> None:
        def parsing_stage(level: int) -> nn.Module:
            return Cascade(
                PFB(width, parsing_channels, channel_attention, spatial_attention) for _ in range(pfbs_per_level)
            )

        super().__init__(
            parsing_stage if pfb else rcab_stage(width, levels, rcabs_per_level),
            scale=scale,
            width=width,
            levels=levels,
            prior_channels=0 if pfb else parsing_channels,
            ffb=ffb,
            ffb_skip=ffb_skip,
            ffb_first=ffb_first,
            ffb_source=ffb_source,
            global_residual=global_residual,
        )
        self.pfb = pfb
        self.parsing_channels = parsing_channels

    def forward(self, lr: Tensor, parsing: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).
            parsing: Encoded parsing maps, (B, parsing_channels, H * scale, W * scale).

        Returns:
            `sr` (B, 3, H * scale, W * scale) and the output of each level as features.

        Raises:
            ShapeError: If the parsing map has another size than the HR face or another number of channels.
        """
        expected = (lr.shape[0], self.parsing_channels, lr.shape[-2] * self.scale, lr.shape[-1] * self.scale)
        if tuple(parsing.shape) != expected:
            raise ShapeError(
                f"Expected parsing maps of shape {expected} for LR faces of shape {tuple(lr.shape)}, got "
                f"{tuple(parsing.shape)}. data.encoding sets the channels: colour 3, onehot 19, index 1."
            )
        if self.pfb:
            return self.restore(lr, stage_prior=parsing)
        return self.restore(lr, head_prior=parsing)


class PKDNStudent(AutoEncoder):
    """The student: restores faces from the LR face only. With the defaults it is KDFSRNet's student.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels; feature distillation needs the teacher's width.
        levels: Number of halvings and doublings of the resolution.
        rcabs_per_level: RCABs in each stage (RCAG): one number, or `2 * levels + 1` numbers in the order encoder,
            bottleneck, decoder.
        ffb: Uses feature fusion blocks. Section 3.2 lists none for the student.
        ffb_skip: See `AutoEncoder`.
        ffb_first: See `AutoEncoder`.
        ffb_source: See `AutoEncoder`.
        global_residual: See `AutoEncoder`.

    Example:
        >>> student = PKDNStudent(width=8, rcabs_per_level=1)
        >>> list(student(torch.rand(1, 3, 16, 16)).features)
        ['down1', 'down2', 'down3', 'down4', 'bottleneck', 'up1', 'up2', 'up3', 'up4']
    """

    def __init__(
        self,
        *,
        scale: Count = 8,
        width: Count = 64,
        levels: Count = 4,
        rcabs_per_level: Natural | Sequence[Natural] = 6,
        ffb: bool = False,
        ffb_skip: bool = True,
        ffb_first: bool = False,
        ffb_source: Literal["resampled", "stage"] = "resampled",
        global_residual: bool = False,
    ) -> None:
        super().__init__(
            rcab_stage(width, levels, rcabs_per_level),
            scale=scale,
            width=width,
            levels=levels,
            prior_channels=0,
            ffb=ffb,
            ffb_skip=ffb_skip,
            ffb_first=ffb_first,
            ffb_source=ffb_source,
            global_residual=global_residual,
        )

    def forward(self, lr: Tensor) -> SROutput:
        """Returns the restored faces.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).

        Returns:
            `sr` (B, 3, H * scale, W * scale) and the output of each level as features.
        """
        return self.restore(lr)


def rcab_stage(width: int, levels: int, rcabs_per_level: int | Sequence[int]) -> Callable[[int], nn.Module]:
    """Returns a function that builds the RCAG stage of a level.

    Raises:
        ConfigError: If a sequence does not have one number per stage.
    """
    stages = 2 * levels + 1
    counts = [rcabs_per_level] * stages if isinstance(rcabs_per_level, int) else list(rcabs_per_level)
    if len(counts) != stages:
        raise ConfigError(
            f"rcabs_per_level has {len(counts)} numbers ({counts}); a network of {levels} levels has {stages} stages: "
            f"{levels} in the encoder, the bottleneck, {levels} in the decoder. Give {stages} numbers, or one for all."
        )
    return lambda level: RCAG(width, counts[level])
