"""What a source of faces is: the interface between a dataset as its publisher ships it and the pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pkdn_lightning.data.store import Entry


class Face(NamedTuple):
    """One face on its way into a store.

    Attributes:
        hr: (S, S, 3) uint8 RGB.
        parsing: (S, S) uint8 label ids, or None.
        landmarks: (68, 2) float32 pixels, or None.
    """

    hr: NDArray[np.uint8]
    parsing: NDArray[np.uint8] | None = None
    landmarks: NDArray[np.float32] | None = None


class Candidate(Protocol):
    """A photograph that may become a face: its row in the index, and whatever its source needs to read it."""

    @property
    def entry(self) -> Entry:
        """The row it would become."""


class Source(Protocol):
    """A dataset that can be turned into a store. It is pickled for the worker processes, so it is small.

    Attributes:
        size_px: Side of the faces it delivers.
        with_parsing: Whether every face comes with a parsing map.
        with_landmarks: Whether every face comes with landmarks.

    A source with the attribute `included = True` needs nothing but the package; its store is made at its first use.
    """

    size_px: int
    with_parsing: bool
    with_landmarks: bool

    def candidates(self, *, dry: bool = False) -> Sequence[Candidate]:
        """Returns what may become faces, in order; `dry` changes nothing on disk.

        Raises:
            DataError: If there is nothing to prepare, or names do not pair up.
            Pending: If `dry`, and something has to be downloaded or unpacked first.
        """

    def quotas(self) -> Mapping[str, int]:
        """Returns how many faces a split takes at most, the first ones in order; a split that is absent takes all."""

    def read(self, candidate: Any) -> Face:
        """Returns one face. Called in worker processes.

        Raises:
            Rejected: If this photograph cannot become a face.
        """

    def provenance(self) -> dict[str, Any]:
        """Returns plain values that say how the data was made, for the manifest."""
