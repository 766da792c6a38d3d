"""Tiny models behind the demo, and a server for its page."""

import os
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pkdn_lightning.config import compose
from pkdn_lightning.demo.limits import Limits
from pkdn_lightning.demo.restorers import load_models
from pkdn_lightning.models.pretrained import write_pretrained
from pkdn_lightning.networks.pkdn import PKDNTeacher
from tests.predict.conftest import CARD, blurred, detector, face, model  # noqa: F401  # fixtures


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """An untrained teacher."""
    torch.manual_seed(1)
    arguments = {"width": 4, "rcabs_per_level": 1}
    card = CARD | {"network": {"_target_": "pkdn_lightning.networks.pkdn.PKDNTeacher", **arguments}}
    return write_pretrained(tmp_path_factory.mktemp("teacher"), card, PKDNTeacher(**arguments).state_dict()).parent


@pytest.fixture(scope="session")
def configured(model, teacher):  # noqa: F811
    """Returns a function that composes the demo's configuration."""

    def make(*overrides: str):
        named = [f"model={model}", f"other={model}", f"teacher={teacher}", "accelerator=cpu", "browser=false"]
        return compose("demo", [*named, *overrides])

    return make


@pytest.fixture(scope="session")
def models(configured):
    """Two students and a teacher."""
    return load_models(configured())


@pytest.fixture(scope="session")
def serve(models, configured):
    """Returns a context manager that serves the page, and gives its address and the folder of its files."""
    pytest.importorskip("gradio")  # seconds: not when tests are collected
    from pkdn_lightning.demo.server import serving

    @contextmanager
    def start(*overrides: str, **limits: float):
        with serving(models, Limits(**limits), configured(*overrides)) as address:
            yield address, Path(os.environ["GRADIO_TEMP_DIR"])

    return start


def bomb(path, side=30_000):
    """Writes a PNG of a few bytes that claims `side`² pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path
