"""The states of all random generators that code draws from without naming one, as plain values for a checkpoint."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import distributed


def random_states() -> list[dict[str, Any]]:
    """Returns the states of torch's, numpy's and Python's global generators, by process of the training.

    Augmentation does not draw from them, but Dropout does.
    """
    legacy: Any = np.random.get_state()  # noqa: NPY002  # whoever draws from the global generator
    algorithm, key, *rest = legacy
    version, internal, gauss = random.getstate()
    own = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [algorithm, key.tolist(), *rest],
        "python": [version, list(internal), gauss],
    }
    if not (distributed.is_available() and distributed.is_initialized()):
        return [own]
    states: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(states, own)
    return states


def restore_random_states(states: Sequence[Mapping[str, Any]]) -> None:
    """Sets the generators of this process; a process that did not exist then keeps its own states."""
    rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    if rank >= len(states):
        return
    own = states[rank]
    torch.set_rng_state(own["torch"])
    if own["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"])
    np.random.set_state(tuple(own["numpy"]))  # noqa: NPY002
    version, internal, gauss = own["python"]
    random.setstate((version, tuple(internal), gauss))
