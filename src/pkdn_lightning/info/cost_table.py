"""Measures the cost of networks and prints it as tables."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from rich.table import Table

from pkdn_lightning.config.instances import build_network
from pkdn_lightning.console import console
from pkdn_lightning.data.labels import ENCODING_CHANNELS
from pkdn_lightning.hardware import bfloat16_instructions, set_up
from pkdn_lightning.models.checkpoints import load_network
from pkdn_lightning.networks.contract import SRNetwork
from pkdn_lightning.networks.cost import BlockCost, measure_blocks


class NetworkCost(NamedTuple):
    """The cost of a network.

    Attributes:
        name: Its name in the table.
        network: Its class.
        blocks: The whole network, then its blocks in the order of their calls.
    """

    name: str
    network: str
    blocks: Sequence[BlockCost]


def run_info(cfg: DictConfig) -> list[NetworkCost]:
    """Measures the networks that `cfg` names and prints a table for each; see `info.info`."""
    device = set_up(threads=cfg.threads, accelerator=cfg.accelerator)
    console.print(_machine(device))
    found = []
    for name, net, scale, encoding in _networks(cfg):
        lr_px = cfg.size_px // scale
        inputs = [torch.rand(cfg.faces, 3, lr_px, lr_px, device=device)]
        if net.uses_parsing:
            channels = ENCODING_CHANNELS[encoding]
            inputs.append(torch.rand(cfg.faces, channels, cfg.size_px, cfg.size_px, device=device))
        cost = NetworkCost(name, type(net).__name__, measure_blocks(net.eval().to(device), *inputs, rounds=cfg.rounds))
        console.print(_table(cost, cfg.faces, lr_px))
        found.append(cost)
    return found


def _networks(cfg: DictConfig) -> Iterator[tuple[str, SRNetwork, int, str]]:
    """Yields name, network, scale and encoding of each run in `models`, or of the configured model if empty."""
    for name, path in cfg.models.items():
        loaded = load_network(path)
        yield name, loaded.net, int(loaded.card["scale"]), str(loaded.card["encoding"])
    if not cfg.models:
        yield "untrained", build_network(cfg.model), cfg.data.scale, cfg.data.encoding


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, float32"
    instructions = bfloat16_instructions()
    return f"CPU, {torch.get_num_threads()} thread(s), float32; {instructions or 'no bfloat16 instructions'}"


def _table(cost: NetworkCost, faces: int, lr_px: int) -> Table:
    whole = cost.blocks[0]
    table = Table(title=f"{cost.name}: {cost.network}, {faces} face(s) of {lr_px}x{lr_px}", title_justify="left")
    table.add_column("block")
    for column in ("parameters", "MMACs", "kept MB", "ms", "of the time", "GMAC/s"):
        table.add_column(column, justify="right")
    for block in (*cost.blocks[1:], whole):
        table.add_row(
            block.name or "whole",
            f"{block.params:,}",
            f"{block.macs / 1e6:,.1f}",
            f"{block.kept_bytes / 1e6:,.1f}",
            f"{block.seconds * 1e3:.2f}",
            f"{100 * block.seconds / whole.seconds:.0f} %",
            f"{block.macs / block.seconds / 1e9:,.0f}",
            style="bold" if block is whole else None,
        )
    return table
