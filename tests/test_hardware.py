"""What the hardware is said to have, precision of GPUs, and that tensors still live where freed memory is kept."""

import ctypes
from types import SimpleNamespace

import pytest
import torch

from pkdn_lightning.hardware import (
    bfloat16_gain,
    bfloat16_instructions,
    choose_precision,
    full_float32,
    keep_freed_memory,
    why_not_compiled,
)


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
    threads = torch.get_num_threads()
    assert 0.02 < bfloat16_gain(8) < 50
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(3), expected)

    clock = iter([0, 9, 0, 9, *[0, 3, 0, 1] * 3])  # float32 takes 3 s, bfloat16 1 s, after a slower first round
    monkeypatch.setattr("time.thread_time", lambda: next(clock))
    assert bfloat16_gain(8) == 3


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((7, 0), "32-true"), ((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((8, 9), "bf16-mixed"), ((9, 0), "bf16-mixed")],
)
def test_auto_takes_no_emulated_bfloat16(monkeypatch, capability, expected):
    """From Turing back, torch emulates bfloat16, which is slower than float32."""
    properties = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr("torch.version.hip", None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)
    monkeypatch.setattr("torch.cuda._check_bf16_tensor_supported", lambda device: True)  # as it answers there
    assert choose_precision("auto", "gpu") == expected
    assert choose_precision("auto", "cpu") == "32-true"


@pytest.mark.parametrize(
    ("triton", "capability", "compiler", "expected"),
    [
        (None, (9, 0), "/usr/bin/cc", "Triton is not installed"),
        ("found", (6, 1), "/usr/bin/cc", "Triton needs a GPU of compute capability 7.0"),
        ("found", (9, 0), None, "Triton needs a C compiler"),
        ("found", (7, 0), "/usr/bin/cc", None),
    ],
)
def test_where_a_gpu_cannot_compile(monkeypatch, triton, capability, compiler, expected):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("pkdn_lightning.hardware.find_spec", lambda name: triton)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    monkeypatch.setattr("shutil.which", lambda name: compiler)
    assert why_not_compiled() == expected


def test_full_float32_lasts_as_long_as_its_block(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32():
            assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", False)
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("high", True)
    finally:
        torch.set_float32_matmul_precision(before)


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
