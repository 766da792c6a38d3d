"""What a user is told. Of several processes of one training only the first speaks."""

import os
from typing import Any, Final

from rich.console import Console

_RANKS: Final = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # as launchers set them, in the order in which Lightning asks


class _FirstProcessConsole(Console):
    """A console that prints text as it is: no markup, because paths may hold brackets, and no wrapping of lines."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints from the first process; see `rich.console.Console.print`."""
        if not is_first_process():
            return
        options.setdefault("soft_wrap", all(isinstance(each, str) for each in objects))  # tables fit the terminal
        super().print(*objects, **options)


def is_first_process() -> bool:
    """Returns whether this is the only process of a training, or its first."""
    return int(next((os.environ[name] for name in _RANKS if name in os.environ), "0")) == 0


console: Final = _FirstProcessConsole(markup=False, highlight=False)
