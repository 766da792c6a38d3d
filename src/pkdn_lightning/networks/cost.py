"""The cost of a network and its blocks: parameters, multiply-accumulates, memory and time."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


class BlockCost(NamedTuple):
    """The cost of a network or one of its blocks in one forward pass.

    Attributes:
        name: As in the network's `named_modules`; empty for the whole network.
        params: Trainable parameters.
        macs: Multiply-accumulates of convolutions and matrix products.
        kept_bytes: Activations saved for the backward pass; for the whole network including those outside its blocks.
        seconds: Median wall time of the forward pass without gradients. Blocks are timed separately; on an
            accelerator their sum exceeds the total.
    """

    name: str
    params: int
    macs: int
    kept_bytes: int
    seconds: float


def count_parameters(net: nn.Module) -> int:
    """Returns the number of trainable parameters."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def count_macs(net: nn.Module, *inputs: Tensor) -> int:
    """Returns the multiply-accumulates of convolutions and matrix products in one forward pass.

    Args:
        net: The network.
        *inputs: Arguments of its forward pass, with one face for the number given in tables.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        net(*inputs)
    return int(counter.get_total_flops() // 2)


def measure_blocks(net: nn.Module, *inputs: Tensor, rounds: int = 5) -> list[BlockCost]:
    """Returns the cost of a network and of each of its blocks, in call order.

    Blocks are the network's children, and the members of a `ModuleList`. Modules that are not called have no row.

    Args:
        net: The network, in evaluation mode.
        *inputs: Arguments of its forward pass.
        rounds: Timed forward passes, after one for warmup.
    """
    names = {module: name for name, module in _blocks(net)}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        net(*inputs)
    flops = counter.get_flop_counts()
    root = type(net).__name__
    kept, total = _kept_bytes(net, inputs, names)
    seconds = _seconds(net, inputs, names, rounds)
    rows = [BlockCost("", count_parameters(net), counter.get_total_flops() // 2, total, seconds.pop(""))]
    for name, each in seconds.items():
        block_macs = sum(flops.get(f"{root}.{name}", {}).values()) // 2
        params = count_parameters(net.get_submodule(name))
        rows.append(BlockCost(name, params, int(block_macs), kept[name], each))
    return rows


def _blocks(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in net.named_children():
        # A container without a forward method cannot be timed; its members can.
        if isinstance(child, nn.ModuleList | nn.ModuleDict) and type(child).forward is nn.Module.forward:
            yield from _blocks(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _hooked(
    names: dict[nn.Module, str], enter: Callable[[str], object], leave: Callable[[str], object], stack: ExitStack
) -> None:
    """Calls `enter` and `leave` around each block, until `stack` closes."""
    for module, name in names.items():

        def before(*_: Any, name: str = name) -> None:
            enter(name)

        def after(*_: Any, name: str = name) -> None:
            leave(name)

        stack.callback(module.register_forward_pre_hook(before).remove)
        stack.callback(module.register_forward_hook(after).remove)


def _kept_bytes(net: nn.Module, inputs: tuple[Tensor, ...], names: dict[nn.Module, str]) -> tuple[dict[str, int], int]:
    weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[str, dict[int, int]] = defaultdict(dict)
    active: list[str] = [""]  # names of the blocks being called

    def record(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights and not any(address in each for each in kept.values()):
            kept[active[-1]][address] = tensor.untyped_storage().nbytes()
        return tensor

    with ExitStack() as stack:
        _hooked(names, active.append, lambda _: active.pop(), stack)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor))
        output = net(*inputs)  # holds the graph: addresses are unique only while the saved tensors are alive
        sums = {name: sum(kept[name].values()) for name in names.values()}
        total = sum(sum(each.values()) for each in kept.values())
        del output
    return sums, total


def _seconds(net: nn.Module, inputs: tuple[Tensor, ...], names: dict[nn.Module, str], rounds: int) -> dict[str, float]:
    device = inputs[0].device
    durations: dict[str, list[float]] = defaultdict(list)
    starts: dict[str, list[float]] = defaultdict(list)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def enter(name: str) -> None:
        starts[name].append(now())

    def leave(name: str) -> None:
        durations[name].append(now() - starts[name].pop())

    with torch.inference_mode():
        net(*inputs)
        for _ in range(rounds):
            enter("")
            net(*inputs)
            leave("")
        with ExitStack() as stack:
            _hooked(names, enter, leave, stack)
            for _ in range(rounds):
                net(*inputs)
    # A block may be called several times per forward pass.
    return {name: statistics.median(each) * (len(each) // rounds) for name, each in durations.items()}
