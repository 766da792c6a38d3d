"""What was done with each file: `manifest.jsonl`, a line per file as it is finished.

Incomplete lines are not read; of several lines for one file the last counts. A file is done if it was restored by the
same model and settings, has not changed since, and its result is still there.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pkdn_lightning.errors import DataError

FILE = "manifest.jsonl"


@dataclass
class Row:
    """What was done with one file.

    Attributes:
        input: The file.
        sha256: Its hash.
        output: Its result, relative to the output folder.
        mode: `lr`, `aligned` or `photo`.
        decision: What was decided about it and why.
        faces: A photograph's faces: `box` (left, top, side), and `kept` with the reason where one was left alone.
        upscale: How many times larger the result is than the input.
        model_sha256: The model's hash.
        settings: The options that the result depends on.
        seconds: Time spent on it.
        metrics: PSNR and SSIM, if there was a reference.
        error: What went wrong, or empty.
    """

    input: str
    sha256: str
    output: str
    mode: str = ""
    decision: str = ""
    faces: list[dict[str, Any]] = field(default_factory=list)
    upscale: float = 0.0
    model_sha256: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    error: str = ""


class Manifest:
    """The manifest of an output folder.

    Args:
        folder: The output folder; made if it is not there.

    Raises:
        DataError: If nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / FILE).open("ab+") as file:
                file.seek(max(0, file.tell() - 1))
                if file.read(1) not in (b"", b"\n"):  # the process was killed within a line
                    file.write(b"\n")
        except OSError as error:
            raise DataError(f"Nothing can be written to output={folder}: {error.strerror}.") from error
        self.rows = {row.output: row for row in _read(folder / FILE)}

    def find(self, row: Row) -> Row | None:
        """Returns the line of the same work, if that is done and its result is still there."""
        known = self.rows.get(row.output)
        if known is None or known.error or changes(known, row) or not (self.folder / row.output).is_file():
            return None
        return known

    def add(self, row: Row) -> None:
        """Writes a line."""
        self.rows[row.output] = row
        with (self.folder / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


def changes(known: Row, row: Row) -> list[str]:
    """Returns what differs in the work of two rows."""
    return [
        name for name in ("input", "sha256", "model_sha256", "settings") if getattr(known, name) != getattr(row, name)
    ]


def _read(file: Path) -> Iterator[Row]:
    known = {each.name for each in fields(Row)}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield Row(**{key: value for key, value in json.loads(line).items() if key in known})
        except (ValueError, TypeError, AttributeError):
            continue  # torn by a kill, or not ours
