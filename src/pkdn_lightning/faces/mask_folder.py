"""Existing parsing maps, read from a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pkdn_lightning.data.labels import LabelOrder
from pkdn_lightning.errors import ConfigError, DataError
from pkdn_lightning.faces.images import open_label_map, reordered
from pkdn_lightning.faces.rejection import Rejected


class MaskFolder:
    """Takes parsing maps that lie in a folder; a `Parser`.

    A map is looked for as `<path>/<split>/parsing/<name>.png`, `<path>/<split>/<name>.png`, `<path>/<name>.png`, in
    this order. It is a square 8-bit grey or palette image of label ids 0..18; one whose size is not the face's is
    resized by nearest neighbour.

    Args:
        path: The folder.
        labels: Order in which the maps number the classes: `celebamask_hq` or `bisenet`; see `data.labels.ORDERS`.

    Raises:
        ConfigError: If `path` is not set.
        DataError: If there is no such folder.
    """

    def __init__(self, *, path: str | None, labels: LabelOrder = "celebamask_hq") -> None:
        if path is None:
            raise ConfigError(
                "parser.path is not set: say where the parsing maps are, e.g. parser=masks parser.path=~/maps.\n"
                "Expected there: <split>/parsing/NAME.png, <split>/NAME.png or NAME.png, one for each face."
            )
        self.path, self.labels = Path(path).expanduser(), labels
        if not self.path.is_dir():
            raise DataError(f"There is no folder {self.path} (parser.path).")

    def parse(self, names: Sequence[str], faces: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8] | Rejected]:
        """Returns the maps, (S, S) uint8 each, or `Rejected` where one is missing (`no_map`) or wrong (`bad_map`)."""
        maps: list[NDArray[np.uint8] | Rejected] = []
        for name, face in zip(names, faces, strict=True):
            try:
                maps.append(self._read(name, face.shape[0]))
            except Rejected as rejected:
                maps.append(rejected)
        return maps

    def provenance(self) -> dict[str, Any]:
        """Returns how the maps were made."""
        return {"parser": f"masks: maps taken as they are, labels of {self.labels}"}

    def _read(self, name: str, size_px: int) -> NDArray[np.uint8]:
        split, _, stem = name.partition("/")  # a name may hold slashes, a split does not
        places = [f"{split}/parsing/{stem}.png", f"{split}/{stem}.png", f"{stem}.png"]
        file = next((self.path / place for place in places if (self.path / place).is_file()), None)
        if file is None:
            raise Rejected("no_map", f"below {self.path} there is none of {', '.join(dict.fromkeys(places))}")
        image = open_label_map(file)
        if image.width != image.height:
            raise Rejected("bad_map", f"{file} is {image.width}x{image.height}; a parsing map has to be square")
        return reordered(image.resize((size_px, size_px), Image.Resampling.NEAREST), self.labels)
