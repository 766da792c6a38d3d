"""A CUDA device that computes nothing, for a machine without one: `FakeTensorMode` with tensors on `cuda:0`.

Shapes, types, devices and memory formats are those of a real device; values are not there. `Recorder` answers where
the host asks for one, and keeps what a real host would have waited for.
"""

import ctypes
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch._ops import OpOverload
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pkdn_lightning.functional.constants import made

DEVICE = torch.device("cuda", 0)  # fake tensors need the number
_CUDA, _META = 1, 14  # c10::DeviceType
_ANSWERS = {torch.bool: True, torch.int64: 1, torch.int32: 1, torch.uint8: 1}
_DYNAMIC = ("aten.nonzero", "aten.masked_select", "aten.unique", "aten._unique")  # their sizes depend on values


class Recorder(TorchDispatchMode):
    """Keeps the operations for which the host waits, and those that mix devices, by the line that called them.

    `kernels` counts the operations on the device, of which each launches one kernel or a few (views launch none).
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = 0
        self.waits: Counter[str] = Counter()
        self.mixed: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func), kwargs or {}
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        kinds = {each.device.type for each in tensors}
        sized = {each.device.type for each in tensors if each.dim()}
        copies = name.startswith(("aten._to_copy", "aten.copy_"))
        waits = self._blocks(func, tensors, args, kwargs) if copies else name.startswith(_DYNAMIC) and "cuda" in kinds
        self.kernels += "cuda" in kinds and not (isinstance(func, OpOverload) and func.is_view)
        if waits:
            self.waits[f"{name} {_caller()}"] += 1
        elif not copies and {"cpu", "cuda"} <= sized:
            self.mixed[f"{name} {_caller()}"] += 1
        if not name.startswith("aten._local_scalar_dense"):
            return func(*args, **kwargs)
        if not isinstance(tensors[0], FakeTensor):
            with fake_tensor.unset_fake_temporarily():
                return func(*args, **kwargs)
        if kinds == {"cuda"}:
            self.waits[f"{name} {_caller()}"] += 1
        return _ANSWERS.get(tensors[0].dtype, 1.0)

    def _blocks(self, func: Any, tensors: list[Tensor], args: Any, kwargs: Any) -> bool:
        """Returns whether a copy makes the host wait: from one kind of device to another, and not asynchronously."""
        if str(func).startswith("aten.copy_"):
            target, source, blocking = tensors[0].device, tensors[-1].device, not (len(args) > 2 and args[2])
        else:
            target, source = torch.device(kwargs.get("device") or tensors[0].device), tensors[0].device
            blocking = not kwargs.get("non_blocking")
        return blocking and target.type != source.type


def _caller() -> str:
    """Returns the innermost line that is not torch's."""
    inside = (f for f in reversed(traceback.extract_stack()) if "/torch/" not in f.filename and f.filename != __file__)
    found = next(inside)
    return f"{'/'.join(Path(found.filename).parts[-2:])}:{found.lineno} {found.line}"


@contextmanager
def cuda_device(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretends that there is one CUDA device; build what is to run on it in here."""
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 24).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    own = guards[_CUDA]
    guards[_CUDA] = own or guards[_META]  # a build without CUDA has none; this one does nothing
    properties = SimpleNamespace(major=9, minor=0, name="fake", total_memory=2**36, multi_processor_count=132)
    answers = {
        "is_available": True, "device_count": 1, "current_device": 0, "_lazy_init": None, "set_device": None,
        "empty_cache": None, "synchronize": None, "is_bf16_supported": True, "max_memory_allocated": 0,
        "is_initialized": True, "is_current_stream_capturing": False, "get_device_properties": properties,
        "get_device_capability": (9, 0), "get_device_name": "fake", "reset_peak_memory_stats": None,
        "memory_stats": {}, "get_rng_state": torch.zeros(1, dtype=torch.uint8), "get_rng_state_all": [],
        "set_rng_state_all": None, "set_rng_state": None, "manual_seed_all": None, "manual_seed": None,
    }  # fmt: skip
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    patch.setattr(fake_tensor, "init_gpu_context", lambda device: None)
    patch.setattr(FakeTensorMode, "avoid_device_init", True)
    patch.setattr(torch._C, "_select_conv_backend", lambda *_, **__: torch._C._ConvBackend.Cudnn)
    patch.setattr(torch._C, "_conv_determine_backend_memory_format", _cudnn_format)
    patch.setattr(Tensor, "backward", lambda loss, gradient=None, *_, **__: _run_backward(loss, gradient))
    patch.setattr(torch._C, "_current_graph_task_id", lambda: 1)  # by which recomputed blocks know a backward pass
    patch.setattr(Tensor, "__deepcopy__", partialmethod(_copied, Tensor.__deepcopy__))
    patch.setattr(torch.nn.Parameter, "__deepcopy__", partialmethod(_copied, torch.nn.Parameter.__deepcopy__))
    patch.setattr(Tensor, "pin_memory", lambda self, *_: self)
    patch.setattr(torch.utils, "swap_tensors", lambda own, moved: None)  # a module on the device stays there:
    patch.setattr(LightningModule, "cpu", lambda self: self)  # fake tensors cannot be swapped
    made.cache_clear()
    try:
        yield
    finally:
        made.cache_clear()
        guards[_CUDA] = own


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Makes every tensor that reaches the device a fake one, until it closes."""
    with FakeTensorMode(allow_non_fake_inputs=True), (recorder := Recorder()):
        yield recorder


def _copied(x: Tensor, deepcopy: Any, memo: Any) -> Any:
    if isinstance(x, FakeTensor):
        return x.detach().clone()
    with fake_tensor.unset_fake_temporarily():
        return deepcopy(x, memo)


def _cudnn_format(x: Tensor, weight: Tensor, backend: Any) -> torch.memory_format:
    """Returns the format of a convolution's result: channels last if that of the input or the weights is."""
    return torch.channels_last if in_channels_last(x) or in_channels_last(weight) else torch.contiguous_format


def in_channels_last(x: Tensor) -> bool:
    """Returns whether neighbours in a tensor's memory are channels of one pixel; also for a part of the channels."""
    return x.dim() == 4 and x.stride(1) == 1 and x.stride(3) >= x.shape[1] and not x.is_contiguous()


@torch.no_grad()
def _run_backward(loss: Tensor, gradient: Tensor | None = None) -> None:
    """Runs the backward functions of torch in topological order, in this thread.

    Autograd's engine starts a thread for each real device, and has none for this one. Double backward, hooks of tensors
    and streams are left out; nothing here uses them.
    """
    assert loss.grad_fn is not None
    waiting, awaited = [loss.grad_fn], Counter[Any]()
    while waiting:  # counts from how many nodes each one gets gradients
        for following, _ in waiting.pop().next_functions:
            if following is not None:
                awaited[following] += 1
                waiting += [following] * (awaited[following] == 1)
    arrived: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss) if gradient is None else gradient}}
    ready = [loss.grad_fn]
    while ready:
        node = ready.pop()
        found = arrived.pop(node, {})
        passed = _backward_of(node, found) if found else [None] * len(node.next_functions)
        for (following, number), value in zip(node.next_functions, passed, strict=True):
            if following is None:
                continue
            if value is not None:
                own = arrived.setdefault(following, {})
                own[number] = own[number] + value if number in own else value
            awaited[following] -= 1
            ready += [following] * (awaited[following] == 0)


def _backward_of(node: Any, found: Mapping[int, Tensor]) -> Sequence[Tensor | None]:
    """Returns the gradients of a node's inputs; one of a weight is kept as its `grad`."""
    given = []
    for number, meta in enumerate(node._input_metadata):  # the engine adapts types and broadcast shapes likewise
        value = found.get(number)
        value = torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device) if value is None else value
        given.append(value.sum_to_size(meta.shape).to(meta.dtype))
    if hasattr(node, "variable"):
        weight = node.variable
        weight.grad = given[0].detach() if weight.grad is None else weight.grad + given[0]
        return ()
    passed = node(*given)
    return passed if isinstance(passed, tuple) else (passed,)
