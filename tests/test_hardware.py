"""What the processor is said to have, and that tensors still live where freed memory is kept."""

import sys

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults as Linux does")
def test_freed_memory_is_kept():
    import resource

    keep_freed_memory()
    torch.ones(16_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.ones(16_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4 * 15_625  # pages of 64 MB
