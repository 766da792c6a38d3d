"""The console: only the first process of a training prints to it."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from rich.console import Console

T = TypeVar("T")

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
        """Returns a text with escapes for what a terminal cannot show, or would obey, in the names of files."""
        shown = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", shown)


def is_first_process() -> bool:
    """Returns whether this is the only process of a training, or its first."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


class ProgressLines:
    """Prints now and then how far work has come, where there is no terminal for a progress bar.

    Args:
        title: What is counted or done.
        total: How much there is.
        show: Whether to print at all.
    """

    def __init__(self, title: str, total: int, *, show: bool = True) -> None:
        self.title, self.total, self.show = title, total, show and not console.is_terminal
        self._begun = self._printed = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Prints a line, unless there was one a short time ago.

        Args:
            done: How much of `total` is done.
            note: What else is to be said.
        """
        now = time.monotonic()
        if self.show and now - self._printed >= min(_LINE_EVERY_S, max(_FIRST_LINE_S, (now - self._begun) / 10)):
            self._printed = now
            console.print(f"{self.title}: {done:,} of {self.total:,}{note}")


def counted(number: int, what: str) -> str:
    """Returns e.g. `1 face` or `2,000 faces`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def progress(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Yields items and shows how many are done: by a bar on a terminal, by lines now and then elsewhere."""
    if console.is_terminal:
        from rich.markup import escape
        from rich.progress import track  # most programs need none

        yield from track(items, escape(title), total=total, console=console, transient=True)
        return
    lines = ProgressLines(title, total)
    for number, item in enumerate(items):
        lines.update(number)
        yield item


_FIRST_LINE_S, _LINE_EVERY_S = 5.0, 60.0  # the longer it takes, the rarer are the lines

console: Final = _FirstProcessConsole(markup=False, highlight=False)
