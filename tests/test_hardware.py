"""What the processor is said to have, and that tensors still live where freed memory is kept."""

import ctypes

import pytest
import torch

from pkdn_lightning.hardware import bfloat16_instructions, keep_freed_memory


@pytest.mark.parametrize(
    ("found", "expected"), [({"avx512_bf16": True}, "avx512_bf16"), ({"amx_bf16": True}, "amx_bf16"), ({}, None)]
)
def test_bfloat16_instructions(monkeypatch, found, expected):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False, raising=False)
    assert bfloat16_instructions() == expected


class MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="asks glibc 2.33 or newer")
def test_freed_memory_is_kept():
    info = ctypes.CDLL(None).mallinfo2
    info.restype = MallInfo
    keep_freed_memory()
    mapped = info().hblkhd
    faces = torch.ones(16_000_000)
    assert info().hblkhd - mapped < faces.nbytes  # from the heap, not a mapping of its own
    del faces
    assert info().fordblks >= 64_000_000  # and not handed back to the system
