"""What the tests of every network check."""

import torch
import torch.nn.functional as F


def learns_two_faces(net, *, lr_px=4, steps=25, rate=1e-3):
    """Returns the loss of each step."""
    lr = torch.rand(2, 3, lr_px, lr_px)
    hr = F.interpolate(lr, scale_factor=8, mode="nearest")
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        loss = (net(lr).sr - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def without_gradient(net, *inputs):
    """Returns the names of the parameters that the restored faces do not depend on."""
    net(*inputs).sr.sum().backward()
    return [name for name, value in net.named_parameters() if value.grad is None]
