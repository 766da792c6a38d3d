"""KDFSRNet and SPARNet as their publications describe them, in plain PyTorch, for `peers.py`.

Written from descriptions of the published code, with its layers, losses and optimisers; see docs/deviations.md.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(before: int, after: int, side: int = 3) -> nn.Conv2d:
    """Returns a convolution that keeps the size."""
    return nn.Conv2d(before, after, side, padding=side // 2)


class RCAB(nn.Module):
    """Two convolutions and channel attention, with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), nn.ReLU(True), conv(width, width))
        few = max(1, width // 16)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(width, few, 1), nn.ReLU(True), conv(few, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns a feature of the same shape."""
        y: Tensor = self.body(x)
        return x + y * self.gate(y)


class KDFSRNet(nn.Module):
    """Four halvings and doublings with RCABs between; the teacher's image has six channels."""

    def __init__(self, channels: int, blocks: int, width: int) -> None:
        super().__init__()
        down = [nn.Sequential(nn.PixelUnshuffle(2), conv(4 * width, width)) for _ in range(4)]
        up = [nn.Sequential(conv(width, 4 * width), nn.PixelShuffle(2)) for _ in range(4)]
        self.head, self.tail = conv(channels, width), conv(width, 3)
        self.resampling = nn.ModuleList([*down, nn.Identity(), *up])
        self.stages = nn.ModuleList(nn.Sequential(*(RCAB(width) for _ in range(blocks))) for _ in range(9))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns SR and the features of the nine stages."""
        x, features = self.head(image), []
        for resampling, stage in zip(self.resampling, self.stages, strict=True):
            x = stage(resampling(x))
            features.append(x)
        return self.tail(x), features


def kdfsrnet_step(batch: int, width: int) -> Callable[[], None]:
    """Returns a step of KDFSRNet's second training: the student learns from ground truth and teacher."""
    student, teacher = KDFSRNet(3, 6, width), KDFSRNet(6, 2, width).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(student.parameters(), 1e-4, betas=(0.9, 0.99), eps=1e-8)
    lr, hr, parsing = (torch.rand(batch, 3, 128, 128) for _ in range(3))

    def once() -> None:
        with torch.no_grad():
            told, guides = teacher(torch.cat([lr, parsing], 1))
        sr, features = student(lr)
        distance = sum(F.l1_loss(ours, guide) for ours, guide in zip(features, guides, strict=True)) / 9
        loss = F.l1_loss(sr, hr) + 10 * distance + 0.1 * F.l1_loss(sr, told)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return once


class Layer(nn.Sequential):
    """Reflection padding and a convolution, behind an enlargement and before a norm where they are asked for."""

    def __init__(self, before: int, after: int, scale: str = "", *, norm: bool = True, act: bool = True) -> None:
        parts = [nn.Upsample(scale_factor=2, mode="nearest")] if scale == "up" else []
        stride = 2 if scale == "down" else 1
        super().__init__(
            *parts,
            nn.ReflectionPad2d(1),
            nn.Conv2d(before, after, 3, stride, bias=not norm),
            *([nn.BatchNorm2d(after)] if norm else []),
            *([nn.LeakyReLU(0.2, True)] if act else []),
        )


class Hourglass(nn.Module):
    """A level of SPARNet's attention."""

    def __init__(self, before: int, width: int, depth: int) -> None:
        super().__init__()
        self.skip, self.down = Layer(before, width), Layer(before, width, "down")
        self.inner = Hourglass(width, width, depth - 1) if depth > 1 else Layer(width, width)
        self.up = Layer(width, width, "up")

    def forward(self, x: Tensor) -> Tensor:
        """Returns a feature of the same size."""
        return self.skip(x) + self.up(self.inner(self.down(x)))  # type: ignore[no-any-return]  # modules return Any


class FAU(nn.Module):
    """SPARNet's face attention unit."""

    def __init__(self, before: int, after: int, scale: str, depth: int, width: int) -> None:
        super().__init__()
        self.act = nn.Sequential(nn.BatchNorm2d(before), nn.LeakyReLU(0.2, True))
        first, second = ("up", "") if scale == "up" else ("", scale)
        self.body = nn.Sequential(Layer(before, after, first), Layer(after, after, second, act=False))
        self.gate = nn.Sequential(Hourglass(after, width, depth), Layer(width, 1, norm=False, act=False), nn.Sigmoid())
        plain = not scale and before == after
        self.shortcut = nn.Identity() if plain else Layer(before, after, scale, norm=False, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns a feature of the unit's resolution."""
        y = self.body(self.act(x))
        return self.shortcut(x) + y * self.gate(y)  # type: ignore[no-any-return]  # modules return Any


class SPARNet(nn.Sequential):
    """SPARNet as released, with batch norm and spatial attention."""

    def __init__(self, width: int) -> None:
        widths, attention = (width, 2 * width, 4 * width, 4 * width), 2 * width
        down = [FAU(a, b, "down", 4 - n, attention) for n, (a, b) in enumerate(pairwise(widths))]
        body = [FAU(4 * width, 4 * width, "", 2, attention) for _ in range(10)]
        up = [FAU(a, b, "up", 3 + n, attention) for n, (a, b) in enumerate(pairwise(widths[::-1]))]
        head, tail = (Layer(a, b, norm=False, act=False) for a, b in ((3, width), (width, 3)))
        super().__init__(head, *down, *body, *up, tail)


def sparnet_step(batch: int, width: int) -> Callable[[], None]:
    """Returns a step of SPARNet's training: L1 in [-1, 1]."""
    net = SPARNet(width)
    optimizer = torch.optim.Adam(net.parameters(), 2e-4, betas=(0.9, 0.99))
    lr, hr = (torch.rand(batch, 3, 128, 128) * 2 - 1 for _ in range(2))

    def once() -> None:
        loss = F.l1_loss(net(lr), hr)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return once
