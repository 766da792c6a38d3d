"""What the processor is said to have, and that tensors still live where freed memory is kept."""

import ctypes

import pytest
import torch

from pkdn_lightning.hardware import bfloat16_gain, bfloat16_instructions, keep_freed_memory


@pytest.mark.parametrize(
    ("found", "expected"), [({"avx512_bf16": True}, "avx512_bf16"), ({"amx_bf16": True}, "amx_bf16"), ({}, None)]
)
def test_bfloat16_instructions(monkeypatch, found, expected):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: found, raising=False)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False, raising=False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False, raising=False)
    assert bfloat16_instructions() == expected


def test_the_gain_of_bfloat16_is_measured_and_leaves_random_numbers_alone(monkeypatch):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert 0.02 < bfloat16_gain(8) < 50
    assert torch.equal(torch.rand(3), expected)

    clock = iter([0, 9, 0, 9, *[0, 3, 0, 1] * 3])  # float32 takes 3 s, bfloat16 1 s, after a slower first round
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert bfloat16_gain(8) == 3


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
