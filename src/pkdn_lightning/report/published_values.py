"""What was published for x8: `published_values.csv`, a row per published mean, and the views that tables print.

Columns of the file:

dataset    The test set, as `dataset_of` names it.
lineage    Whose faces, crops and training data: `DIC`, `SPARNet`, `FSRNet`, or `unknown`. Values of two lineages do not
           compare.
training   What the network was trained on.
protocol   Channel and border of the metric; `Y (inferred)` where only the values themselves tell.
source     Who published the value, `where` exactly.
evidence   `read` in the source itself, `quoted` by somebody who read it, or `attributed` to it without having been
           compared with it.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any, Final, NamedTuple

SCALE: Final = 8
"""The scale that all of these numbers are for."""


class Published(NamedTuple):
    """A row of the file."""

    method: str
    dataset: str
    lineage: str
    training: str
    protocol: str
    psnr: float  # in dB
    ssim: float | None
    source: str
    where: str
    evidence: str


class Score(NamedTuple):
    """A published result."""

    psnr: float  # in dB
    ssim: float
    source: str = "PKDN"  # the paper it is from


def _read() -> tuple[Published, ...]:
    file = resources.files("pkdn_lightning.report") / "published_values.csv"
    lines: Iterable[dict[str, Any]] = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple(
        Published(**line | {"psnr": float(line["psnr"]), "ssim": float(line["ssim"]) if line["ssim"] else None})
        for line in lines
    )


PUBLISHED: Final = _read()
"""All published values, in the order of the file."""


def _scores(where: str, dataset: str) -> dict[str, Score]:
    rows = (row for row in PUBLISHED if row.dataset == dataset and row.where.endswith(where) and row.ssim is not None)
    return {row.method: Score(row.psnr, float(row.ssim or 0), row.source) for row in rows}


TABLE_1: Final[Mapping[str, Mapping[str, Score]]] = {
    name: _scores("CVPR 2020, Tables 1 and 2", name) | _scores("arXiv 2409.14385, Table 1", name)
    for name in ("celeba", "helen")
}
"""`TABLE_1[dataset][method]`: PKDN's Table 1, and DIC's tables for bicubic and DICGAN, which PKDN leaves out."""

_ABLATION: Final = _scores("arXiv 2409.14385, Table 2", "celeba")
TABLE_2: Final[Mapping[tuple[bool, bool], Score]] = {
    (False, False): _ABLATION["PKDN, teacher without PFB and FFB"],
    (True, False): _ABLATION["PKDN, teacher without FFB"],
    (True, True): TABLE_1["celeba"]["PKDN"],
}
"""The ablation on CelebA, by whether the teacher has PFB and FFB."""

TEST_FACES: Final[Mapping[str, int]] = {"celeba": 1000, "helen": 50}
"""How many test faces the published numbers are means of."""


def spread(values: Iterable[Published]) -> float:
    """Returns the range of published PSNR in dB: above 0, the sources contradict each other.

    Example:
        >>> round(spread(row for row in PUBLISHED if (row.method, row.dataset) == ("SPARNet", "helen")), 2)
        1.0
    """
    psnr = [row.psnr for row in values]
    return max(psnr) - min(psnr)


def dataset_of(name: str) -> str | None:
    """Returns which of the paper's data sets a test set is, by its name; None if it is another.

    Example:
        >>> dataset_of("CelebA_test"), dataset_of("celebamask_hq")
        ('celeba', None)
    """
    first = re.split(r"[^a-z]+", name.lower())[0]
    return first if first in TABLE_1 else None
