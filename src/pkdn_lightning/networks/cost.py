"""What a network costs: its parameters and multiply-accumulates."""

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(net: nn.Module) -> int:
    """Returns the number of trainable values."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def count_macs(net: nn.Module, *inputs: Tensor) -> int:
    """Returns the multiply-accumulates of convolutions and matrix products in one forward pass.

    Args:
        net: The network.
        *inputs: What to call it with. A batch of one face gives the figure that tables print.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        net(*inputs)
    return int(counter.get_total_flops() // 2)
