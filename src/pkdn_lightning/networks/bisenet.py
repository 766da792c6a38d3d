"""BiSeNet for face parsing (Yu et al., ECCV 2018, https://arxiv.org/abs/1808.00897).

This is the variant of zllrunning/face-parsing.PyTorch: a ResNet-18 context path, and the backbone's features at 1/8 of
the resolution instead of a separate spatial path. Module names match its published weights.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BISENET_LABELS: Final = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
"""Class names in the order of the network's channels."""


class BasicBlock(nn.Module):
    """ResNet's basic block of two 3x3 convolutions (He et al. 2016, figure 2).

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        stride: 2 halves the resolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            None
            if stride == 1 and in_channels == out_channels
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns the refined feature, (B, out_channels, H / stride, W / stride)."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(residual + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 without its classifier (He et al. 2016, table 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the features at 1/8 (128 channels), 1/16 (256) and 1/32 (512) of the resolution."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), kernel_size=3, stride=2, padding=1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class ConvBNReLU(nn.Module):
    """Convolution with same padding and no bias, batch normalisation, ReLU.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        kernel_size: Side of the kernel, odd.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, out_channels, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class AttentionRefinement(nn.Module):
    """Attention refinement module: a convolution with channel attention (section 3.2).

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(in_channels, out_channels)
        self.conv_atten = nn.Conv2d(out_channels, out_channels, kernel_size=1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, out_channels, H, W)."""
        x = self.conv(x)
        gate = self.bn_atten(self.conv_atten(x.mean((-2, -1), keepdim=True)))
        return x * torch.sigmoid(gate)


class FeatureFusion(nn.Module):
    """Feature fusion module: concatenates detail and context and applies channel attention (section 3.3).

    Args:
        channels: Width of the concatenated features, and of the output.
    """

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.convblk = ConvBNReLU(channels, channels, kernel_size=1)
        self.conv1 = nn.Conv2d(channels, channels // 4, kernel_size=1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, kernel_size=1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Returns (B, channels, H, W)."""
        fused = self.convblk(torch.cat([detail, context], dim=1))
        gate = self.conv2(F.relu(self.conv1(fused.mean((-2, -1), keepdim=True))))
        return fused + fused * torch.sigmoid(gate)


class ContextPath(nn.Module):
    """ResNet-18, whose deep features are upsampled to 1/8 of the resolution (section 3.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, kernel_size=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns three features of 128 channels: the backbone's at 1/8, the context at 1/8 and at 1/16."""
        eighth, sixteenth, thirtysecond = self.resnet(x)
        pooled = self.conv_avg(thirtysecond.mean((-2, -1), keepdim=True))
        context = self.arm32(thirtysecond) + pooled  # (B, 128, 1, 1) is broadcast over the image
        context16 = self.conv_head32(F.interpolate(context, size=sixteenth.shape[-2:], mode="nearest"))
        context = self.arm16(sixteenth) + context16
        context8 = self.conv_head16(F.interpolate(context, size=eighth.shape[-2:], mode="nearest"))
        return eighth, context8, context16


class Head(nn.Module):
    """Computes one logit per class from a feature.

    Args:
        in_channels: Width of the feature.
        hidden_channels: Width between the two convolutions.
        classes: Number of classes.
    """

    def __init__(self, in_channels: int, hidden_channels: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBNReLU(in_channels, hidden_channels)
        self.conv_out = nn.Conv2d(hidden_channels, classes, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, classes, H, W)."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Segments a face into classes.

    Args:
        classes: Number of classes; the public weights have 19, `BISENET_LABELS`.

    Example:
        >>> BiSeNet().eval()(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 19, 64, 64])
    """

    def __init__(self, classes: int = len(BISENET_LABELS)) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion()
        self.conv_out = Head(256, 256, classes)
        # Auxiliary heads for training the context path; unused here, but present in the published weights, so that a
        # state dict loads strictly.
        self.conv_out16 = Head(128, 64, classes)
        self.conv_out32 = Head(128, 64, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Returns the logits of the main head.

        Args:
            image: Faces normalised by ImageNet's mean and standard deviation, (B, 3, H, W).

        Returns:
            Logits in the order of `BISENET_LABELS`, (B, classes, H, W).
        """
        return F.interpolate(self.coarse(image), size=image.shape[-2:], mode="bilinear", align_corners=True)

    def coarse(self, image: Tensor) -> Tensor:
        """Returns the logits at 1/8 of the image's resolution."""
        eighth, context8, _ = self.cp(image)
        logits: Tensor = self.conv_out(self.ffm(eighth, context8))
        return logits


def _stage(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(in_channels, out_channels, stride), BasicBlock(out_channels, out_channels))
