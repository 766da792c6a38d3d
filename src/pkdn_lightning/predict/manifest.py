"""What was done with each file: `manifest.jsonl`, a line per file as it is finished.

Incomplete lines are not read; of several lines for one file the last counts that is no failure. A file is done if the
same model and settings were used, it has not changed since, and its result is still there.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from pkdn_lightning.errors import DataError
from pkdn_lightning.files import exclusive

FILE = "manifest.jsonl"

Status = Literal["restored", "copied", "failed", "kept", "left out"]


@dataclass
class Row:
    """What was done with one file.

    Attributes:
        input: The file.
        sha256: Its hash.
        output: Its result, relative to the output folder.
        status: `restored`; `copied`, if no face was restored; `failed`, if there is no result; `kept`, if there is
            one made otherwise, which is not replaced unasked; `left out`, if it is no image by its name.
        mode: `lr`, `aligned` or `photo`.
        decision: What was decided about it and why.
        faces: A photograph's faces: `box` (left, top, side); `angle` in degrees, clockwise, where one is tilted; and
            `model`, or `kept` with the reason where one was left alone.
        models: How many faces each model restored, by its name.
        better: An included model that suits the size of its faces better than the named one, or empty.
        turn: By how many degrees a photograph is turned clockwise: 0, 90, 180 or 270.
        upscale: How many times larger the result is than the input.
        model_sha256: The model's hash; where the size of a face chooses among several, the hash of theirs.
        settings: The options that the result depends on.
        seconds: Time spent on it.
        metrics: PSNR and SSIM, if there was a reference.
        error: What went wrong, or empty.
    """

    input: str
    sha256: str
    output: str
    status: Status = "restored"
    mode: str = ""
    decision: str = ""
    faces: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, int] = field(default_factory=dict)
    better: str = ""
    turn: int = 0
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

    Attributes:
        rows: The last row of each result, by its name; of files that have none, the last failure.
        unfinished: The result that a killed process was writing, or empty.

    Raises:
        DataError: If nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, dict[str, Row]()
        self._mark = folder / ".unfinished"
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / FILE).open("ab+") as file:
                file.seek(max(0, file.tell() - 1))
                if file.read(1) not in (b"", b"\n"):  # the process was killed within a line
                    file.write(b"\n")
            for row in _read(folder / FILE):
                self._keep(row)
            self.unfinished = os.fsdecode(self._mark.read_bytes()) if self._mark.is_file() else ""

    def find(self, row: Row) -> Row | None:
        """Returns the line of the same work, if that is done and its result is still there."""
        known = self.rows.get(row.output)
        if known is None or known.error or changes(known, row) or not (self.folder / row.output).is_file():
            return None
        return known

    def add(self, row: Row) -> None:
        """Writes a line."""
        self._keep(row)
        line = json.dumps(asdict(row), ensure_ascii=False) + "\n"
        with (self.folder / FILE).open("ab") as file:
            file.write(line.encode("utf-8", errors="backslashreplace"))  # JSON's own escape for names that are no UTF-8

    @contextlib.contextmanager
    def writing(self, output: str) -> Iterator[None]:
        """Marks a result as being written until the block ends, so that a kill leaves no file of unknown origin."""
        self._mark.write_bytes(os.fsencode(output))
        try:
            yield
        finally:
            self._mark.unlink(missing_ok=True)

    def _keep(self, row: Row) -> None:
        key = row.output or row.input
        known = self.rows.get(key)
        if known is None or known.error or not row.error:  # a failure says nothing about a result that is there
            self.rows[key] = row


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[Manifest]:
    """Yields the manifest of an output folder; another process that writes there waits until the block ends.

    Raises:
        DataError: If nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        with _explained(folder):
            stack.enter_context(exclusive(folder / FILE, f"writes into {folder} (Ctrl-C stops the waiting); it holds"))
        yield Manifest(folder)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"Nothing can be written to output={folder}: {error.strerror or error}.") from error


def changes(known: Row, row: Row) -> list[str]:
    """Returns in what the work of a known row differs from that of another, in words."""
    found = [f"from {known.input}"] if known.input != row.input else []
    found += ["before the input changed"] if known.sha256 != row.sha256 else []
    found += ["by another model"] if known.model_sha256 != row.model_sha256 else []
    names = sorted({*known.settings, *row.settings})
    others = [name for name in names if known.settings.get(name) != row.settings.get(name)]
    return found + [f"with {name}={known.settings.get(name)}" for name in others]


def _read(file: Path) -> Iterator[Row]:
    known = {each.name for each in fields(Row)}
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):  # not at U+2028 in a name
        try:
            row = Row(**{key: value for key, value in json.loads(line).items() if key in known})
        except (ValueError, TypeError, AttributeError):
            continue  # torn by a kill, or not ours
        if all(isinstance(value, str) for value in (row.input, row.output, row.error)) and isinstance(
            row.settings, dict
        ):
            yield row
