"""Whether two run folders, stores or folders of files hold the same, apart from times, places and identities."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import torch

_VOLATILE = {
    "id", "command", "started", "resumed", "git", "machine", "wall_s", "trained_s", "versions", "pid", "overrides",
    "sweep", "created", "seconds", "took_s", "ms", "speed", "path",
    "current_score",  # of ModelCheckpoint, which forgets it on a resume and does not use it
}  # fmt: skip
_CLOCKED = ("speed/", "train/wall_s")
_PASSING = (
    ".lock", ".verified.json",  # the latter caches when files were checked
    ".writing", "state.json", "tried.bin",  # stay if a writer is killed when its store is complete; nothing reads them
)  # fmt: skip


def assert_equal_folders(whole: Path, broken: Path) -> None:
    """Asserts that every file of one folder is in the other, with the same content."""
    names = {str(file.relative_to(whole)) for file in _files(whole)}
    found = {str(file.relative_to(broken)) for file in _files(broken)}
    assert found == names, found ^ names
    for name in sorted(names):
        expected, actual = (_content(root / name, root) for root in (whole, broken))
        differing = "; ".join(_differences(expected, actual))
        assert not differing, f"{name}: {differing}"


def _files(root: Path) -> list[Path]:
    return [file for file in root.rglob("*") if file.is_file() and not file.name.endswith(_PASSING)]


def _content(file: Path, root: Path) -> Any:
    if file.suffix == ".ckpt":
        return _stable(torch.load(file, weights_only=True), root)
    if file.name == "metrics.csv":
        with file.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        return [{name: value for name, value in row.items() if not name.startswith(_CLOCKED)} for row in rows]
    if file.suffix in (".json", ".jsonl"):
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        return _stable([json.loads(line) for line in lines], root)
    if file.suffix in (".yaml", ".csv", ".txt", ".md", ".html"):
        return _stable(file.read_text(), root)
    return file.read_bytes()


def _stable(value: Any, root: Path) -> Any:
    """Returns a value without what differs between two runs of one command."""
    if isinstance(value, dict):
        if value.keys() == {"path", "sha256"}:
            return {}  # a checkpoint, whose hash depends on times and places in it; it is compared itself
        return {_stable(key, root): _stable(each, root) for key, each in value.items() if key not in _VOLATILE}
    if isinstance(value, list | tuple):
        return [_stable(each, root) for each in value]
    if not isinstance(value, str):
        return value
    for place in (f"{root.resolve()}/", f"{root}/", str(root.resolve())):
        value = value.replace(place, "")
    return re.sub(r"PKDN_SWEEP_ID=\w+", "", value)


def _differences(a: Any, b: Any, where: str = "") -> list[str]:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict):
        missing = [f"{where}/{key} is in one only" for key in a.keys() ^ b.keys()]
        return missing + [
            each for key in a.keys() & b.keys() for each in _differences(a[key], b[key], f"{where}/{key}")
        ]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [
            each for key, pair in enumerate(zip(a, b, strict=True)) for each in _differences(*pair, f"{where}/{key}")
        ]
    return [] if type(a) is type(b) and (a == b or a != a) else [f"{where}: {str(a)[:80]!r} and {str(b)[:80]!r}"]
