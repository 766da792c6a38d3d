"""Reads what W&B wrote offline: the records that `wandb sync` would upload.

The file is a LevelDB log: blocks of 32 KiB, in which each chunk has a checksum, a length and a kind.
"""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK, _FILE_HEADER, _CHUNK_HEADER = 32768, 7, 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class Log(NamedTuple):
    """What an offline run holds."""

    run: Any
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]
    defined: dict[str, Any]
    artifacts: list[Any]
    exit_code: int | None


def read_log(folder: Path, wait_s: float = 20) -> Log:
    """Returns the contents of the only offline run in a run folder, once a process of W&B's own has written them."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    until = time.monotonic() + wait_s
    while (log := _parse(file)).exit_code is None and time.monotonic() < until:
        time.sleep(0.05)
    return log


def _parse(file: Path) -> Log:
    log = Log(None, {}, {}, [], {}, [], None)
    for record in _records(file.read_bytes()):
        kind = record.WhichOneof("record_type")
        part = getattr(record, kind)
        if kind == "run":
            log = log._replace(run=part)
            log.config.update(_values(part.config.update))
        elif kind == "config":
            log.config.update(_values(part.update))
        elif kind == "summary":
            log.summary.update(_values(part.update))
        elif kind == "history":
            log.history.append(_values(part.item))
        elif kind == "metric":
            log.defined[part.name or part.glob_name] = part
        elif kind == "artifact":
            log.artifacts.append(part)
        elif kind == "exit":
            log = log._replace(exit_code=part.exit_code)
    return log


def _values(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[Any]:
    place, parts = _FILE_HEADER, []
    while place + _CHUNK_HEADER <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _CHUNK_HEADER:
            place += left  # padding
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + _CHUNK_HEADER])
        if place + _CHUNK_HEADER + length > len(data):
            return  # it is being written
        parts.append(data[place + _CHUNK_HEADER : place + _CHUNK_HEADER + length])
        place += _CHUNK_HEADER + length
        if kind in (_WHOLE, _LAST):
            yield Record.FromString(b"".join(parts))
            parts = []
        assert kind in (_WHOLE, _FIRST, _MIDDLE, _LAST)
