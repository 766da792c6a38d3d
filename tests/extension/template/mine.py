"""A network, a loss term, a degradation and a source of faces, which the files in conf/ name."""

import numpy as np
from torch import Tensor, nn

from pkdn_lightning import SRNetwork, SROutput
from pkdn_lightning.data.degradation import degrade, enlarge
from pkdn_lightning.losses import LossTerm
from pkdn_lightning.prepare.source import Face
from pkdn_lightning.prepare.sources.portraits import Candidate, PortraitsSource


class Shuffle(SRNetwork):
    """What two convolutions and a pixel shuffle add to bicubic interpolation; conf/model/shuffle.yaml."""

    def __init__(self, scale: int, width: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 3 * scale**2, 3, padding=1)

    def forward(self, lr: Tensor) -> SROutput:
        added = nn.functional.pixel_shuffle(self.tail(self.head(lr).relu()), self.scale)
        return SROutput(enlarge(lr, self.scale) + added)


class Brightness(LossTerm):
    """Difference of mean brightness; conf/objective/brightness.yaml."""

    def forward(self, output: SROutput, hr: Tensor, teacher_output: SROutput | None) -> Tensor:
        return (output.sr.mean() - hr.mean()).abs()


def blurred(hr: Tensor, scale: int) -> Tensor:
    """Blurs faces before they are reduced; conf/data/grey.yaml. (B, 3, H, W) -> (B, 3, H / scale, W / scale)."""
    return degrade(nn.functional.avg_pool2d(hr, 3, stride=1, padding=1, count_include_pad=False), scale)


class GreyPortraits(PortraitsSource):
    """The included portraits without colour; conf/data/grey.yaml."""

    def read(self, candidate: Candidate) -> Face:
        face = super().read(candidate)
        grey = face.hr.mean(-1, keepdims=True).astype(np.uint8)
        return face._replace(hr=np.repeat(grey, 3, axis=-1))
