"""What was published for x8, to be printed beside what is measured here.

Yang et al. 2024 (PKDN), Tables 1 and 2; for what they leave out, Ma et al. 2020 (DIC), Tables 1 and 2.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

SCALE: Final = 8
"""The scale that all of these numbers are for."""


class Score(NamedTuple):
    """A published result."""

    psnr: float  # in dB
    ssim: float
    source: str = "PKDN"  # the paper it is from


TABLE_1: Final[Mapping[str, Mapping[str, Score]]] = {
    "celeba": {
        "bicubic": Score(23.58, 0.6285, "DIC"),
        "URDGN": Score(25.62, 0.7261),
        "FSRNet": Score(26.66, 0.7714),
        "DIC": Score(27.27, 0.8022),
        "DICGAN": Score(26.34, 0.7562, "DIC"),
        "SISN": Score(27.31, 0.7978),
        "SPARNet": Score(27.42, 0.8036),
        "KDFSRNet": Score(27.52, 0.8057),
        "PKDN": Score(27.56, 0.8062),
    },
    "helen": {
        "bicubic": Score(23.89, 0.6751, "DIC"),
        "URDGN": Score(25.23, 0.7205),
        "FSRNet": Score(26.28, 0.7726),
        "DIC": Score(26.69, 0.7953),
        "DICGAN": Score(25.96, 0.7624, "DIC"),
        "SISN": Score(26.66, 0.7920),
        "SPARNet": Score(26.78, 0.7971),
        "KDFSRNet": Score(26.79, 0.7953),
        "PKDN": Score(26.84, 0.7982),
    },
}
"""`TABLE_1[dataset][method]`."""

TABLE_2: Final[Mapping[tuple[bool, bool], Score]] = {
    (False, False): Score(27.31, 0.7961),
    (True, False): Score(27.48, 0.8036),
    (True, True): Score(27.56, 0.8062),
}
"""The ablation on CelebA, by whether the teacher has PFB and FFB."""

TEST_FACES: Final[Mapping[str, int]] = {"celeba": 1000, "helen": 50}
"""How many test faces the published numbers are means of."""


def dataset_of(name: str) -> str | None:
    """Returns which of the paper's data sets a test set is, by its name; None if it is another.

    Example:
        >>> dataset_of("CelebA_test"), dataset_of("celebamask_hq")
        ('celeba', None)
    """
    first = re.split(r"[^a-z]+", name.lower())[0]
    return first if first in TABLE_1 else None
