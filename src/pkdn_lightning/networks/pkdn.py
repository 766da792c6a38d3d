"""PKDN's teacher and student (Yang et al. 2024, https://arxiv.org/abs/2409.14385, sections 3.1 and 3.2).

Both are the same auto-encoder over the bicubically enlarged LR face: a head, levels that halve the resolution, a
bottleneck, levels that double it again, a tail. A level is a resampling block and a *stage*. The teacher's stages are
parsing map fusion blocks and its decoder fuses retained encoder features (FFB); the student's stages are cascades of
RCABs and see the LR face alone. Authors' code is not public; where the paper leaves a detail open, the default
follows KDFSRNet and FishFSRNet, the two works it builds on, and the alternative reading is an option.
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


class AutoEncoder(SRNetwork):
    """The skeleton that teacher and student share.

    Args:
        stage: Makes the stage of one level. Levels count from 0: the encoder's, the bottleneck, the decoder's.
        scale: Enlargement from LR to HR.
        width: Feature channels, the same everywhere.
        levels: How often the resolution is halved and doubled.
        prior_channels: Channels that join the enlarged LR face at the head.
        ffb: Fuses retained encoder features into the decoder.
        ffb_skip: See `FFB`.
        ffb_first: Fuses before the stage (up, FFB, stage) instead of after it (up, stage, FFB).
        ffb_source: What the encoder retains: the output of each resampling block (`resampled`, FishFSRNet's way) or
            of each stage (`stage`).
        global_residual: Adds the enlarged LR face to the output. Not in the paper; short trainings gain from it.

    Raises:
        ConfigError: If `scale`, `width` or `levels` is below 1.
    """

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
        """Restores faces, giving the prior to the head, to every stage, or to neither.

        Args:
            lr: LR faces in [0, 1], (B, 3, H, W).
            head_prior: Concatenated with the enlarged LR face, (B, P, H * scale, W * scale).
            stage_prior: Second argument of every stage, of the same shape.

        Returns:
            The restored faces, and the feature behind each level as `down1`..., `bottleneck`, `up1`....

        Raises:
            ShapeError: If the enlarged sides do not divide by 2 per level.
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
        retained.pop()  # the smallest one: no decoder level has its size
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
        levels: How often the resolution is halved and doubled.
        parsing_channels: Channels of the encoded parsing map: 3 (colour), 19 (one-hot) or 1 (index).
        pfb: Uses parsing map fusion blocks. Without them (Table 2) the stages are the student's, and the parsing map
            enters at the head, as in KDFSRNet.
        pfbs_per_level: Parsing map fusion blocks in each stage.
        rcabs_per_level: RCABs in each stage where `pfb` is off; 2 makes KDFSRNet's teacher.
        channel_attention: Channel attention inside the PFBs, see `ChannelAttention`.
        spatial_attention: Spatial attention inside the PFBs, see `PFB`.
        ffb: Uses feature fusion blocks (Table 2).
        ffb_skip: See `FFB`.
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
        scale: int = 8,
        width: int = 64,
        levels: int = 4,
        parsing_channels: int = 3,
        pfb: bool = True,
        pfbs_per_level: int = 1,
        rcabs_per_level: int | Sequence[int] = 2,
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
            `sr` (B, 3, H * scale, W * scale) and the features behind each level.

        Raises:
            ShapeError: If the parsing map is not of the HR face's size or has another number of channels.
        """
        expected = (lr.shape[0], self.parsing_channels, lr.shape[-2] * self.scale, lr.shape[-1] * self.scale)
        if tuple(parsing.shape) != expected:
            raise ShapeError(
                f"Expected parsing maps of shape {expected} for LR faces of shape {tuple(lr.shape)}, got "
                f"{tuple(parsing.shape)}. data.encoding decides the channels: colour 3, onehot 19, index 1."
            )
        if self.pfb:
            return self.restore(lr, stage_prior=parsing)
        return self.restore(lr, head_prior=parsing)


class PKDNStudent(AutoEncoder):
    """The student: restores faces from the LR face alone. With the defaults it is KDFSRNet's student.

    Args:
        scale: Enlargement from LR to HR.
        width: Feature channels; as many as the teacher has, or the features cannot be compared.
        levels: How often the resolution is halved and doubled.
        rcabs_per_level: RCABs in each stage (RCAG): one number, or one per stage in the order encoder, bottleneck,
            decoder (`2 * levels + 1` of them).
        ffb: Uses feature fusion blocks. Section 3.2 lists none for the student.
        ffb_skip: See `FFB`.
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
        scale: int = 8,
        width: int = 64,
        levels: int = 4,
        rcabs_per_level: int | Sequence[int] = 6,
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
            `sr` (B, 3, H * scale, W * scale) and the features behind each level.
        """
        return self.restore(lr)


def rcab_stage(width: int, levels: int, rcabs_per_level: int | Sequence[int]) -> Callable[[int], nn.Module]:
    """Returns the maker of RCAG stages.

    Raises:
        ConfigError: If a sequence does not hold one number per stage.
    """
    stages = 2 * levels + 1
    counts = [rcabs_per_level] * stages if isinstance(rcabs_per_level, int) else list(rcabs_per_level)
    if len(counts) != stages:
        raise ConfigError(
            f"rcabs_per_level names {len(counts)} stages ({counts}); a network of {levels} levels has {stages}: "
            f"{levels} in the encoder, the bottleneck, {levels} in the decoder. Give {stages} numbers, or one for all."
        )
    return lambda level: RCAG(width, counts[level])
