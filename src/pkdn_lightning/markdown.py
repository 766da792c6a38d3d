"""Text of others (names of files, runs, data sets) in Markdown: shown as it is, never taken for markup."""

import re


def plain(text: object) -> str:
    r"""Returns text for a paragraph, a list or a cell of a table, with everything escaped that would be markup.

    Example:
        >>> print(plain("a|b_c <img src=x>"))
        a\|b_c \<img src=x\>
    """
    return re.sub(r"([\\`|*<>\[\]~$]|(?<!\w)_|_(?!\w)|&(?=#?\w+;))", r"\\\1", _on_one_line(text))


def code(text: object) -> str:
    """Returns text as inline code.

    Example:
        >>> print(code("runs/a`b"))
        ``runs/a`b``
    """
    shown = _on_one_line(text).replace("|", "\\|")  # a cell of a table would end there, even within code
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def code_block(text: str, language: str = "bash") -> str:
    """Returns text as a block of code."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _on_one_line(text: object) -> str:
    return " ".join(str(text).split())
