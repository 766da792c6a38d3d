"""The console: only the first process of a training prints to it."""

import os
from typing import Any, Final

from rich.console import Console

_RANKS: Final = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")  # launchers set some of them


class _FirstProcessConsole(Console):
    """Prints text unchanged: no markup, because paths may hold brackets, and no wrapped lines."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints from the first process; see `rich.console.Console.print`."""
        if not is_first_process():
            return
        objects = tuple(self._printable(each) if isinstance(each, str) else each for each in objects)
        options.setdefault("soft_wrap", all(isinstance(each, str) for each in objects))  # tables fit the terminal
        super().print(*objects, **options)

    def _printable(self, text: str) -> str:
        """Returns a text with escapes for what the terminal cannot show, e.g. file names that are not UTF-8."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)


def is_first_process() -> bool:
    """Returns whether this is the only process of a training, or its first."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


console: Final = _FirstProcessConsole(markup=False, highlight=False)
