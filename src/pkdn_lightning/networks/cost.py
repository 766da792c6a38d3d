"""The cost of a network and of its blocks: parameters, multiply-accumulates, memory and time."""

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
    """The cost of one part of a network in one call.

    Attributes:
        name: As in the network's `named_modules`; empty for the whole network.
        params: Trainable values.
        macs: Multiply-accumulates of convolutions and matrix products.
        kept_bytes: Activations that a training step keeps for the backward pass; those of the whole network include
            what lies between its blocks.
        seconds: Median wall time of the forward pass without gradients. Blocks are timed one by one; on an
            accelerator their sum exceeds the whole.
    """

    name: str
    params: int
    macs: int
    kept_bytes: int
    seconds: float


def count_parameters(net: nn.Module) -> int:
    """Returns the number of trainable values."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def count_macs(net: nn.Module, *inputs: Tensor) -> int:
    """Returns the multiply-accumulates of convolutions and matrix products in one forward pass.

    Args:
        net: The network.
        *inputs: Its arguments. A batch of one face gives the figure of the tables.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        net(*inputs)
    return int(counter.get_total_flops() // 2)


def measure_blocks(net: nn.Module, *inputs: Tensor, rounds: int = 5) -> list[BlockCost]:
    """Returns the cost of a network and of each of its blocks, in the order they are called.

    Blocks are the network's children, and the members of a `ModuleList`. Modules that compute nothing have no row.

    Args:
        net: The network, in evaluation mode.
        *inputs: Its arguments.
        rounds: Calls that the median time is taken of, after one to warm up.
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
        # A list that does not say how it is called cannot be timed; its members can.
        if isinstance(child, nn.ModuleList | nn.ModuleDict) and type(child).forward is nn.Module.forward:
            yield from _blocks(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _hooked(
    names: dict[nn.Module, str], enter: Callable[[str], None], leave: Callable[[str], None], stack: ExitStack
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
    within: list[str] = [""]

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights and not any(place in each for each in kept.values()):
            kept[within[-1]][place] = tensor.untyped_storage().nbytes()
        return tensor

    def leave(name: str) -> None:
        within.pop()

    with ExitStack() as stack:
        _hooked(names, within.append, leave, stack)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor))
        held = net(*inputs)  # places stay distinct only while what is kept is alive
        sums = {name: sum(kept[name].values()) for name in names.values()}
        total = sum(sum(each.values()) for each in kept.values())
        del held
    return sums, total


def _seconds(net: nn.Module, inputs: tuple[Tensor, ...], names: dict[nn.Module, str], rounds: int) -> dict[str, float]:
    device = inputs[0].device
    taken: dict[str, list[float]] = defaultdict(list)
    begun: dict[str, list[float]] = defaultdict(list)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def enter(name: str) -> None:
        begun[name].append(now())

    def leave(name: str) -> None:
        taken[name].append(now() - begun[name].pop())

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
    # A block that is called several times in one pass costs all of them.
    return {name: statistics.median(each) * (len(each) // rounds) for name, each in taken.items()}
