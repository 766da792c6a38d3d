"""Names of the bicubic implementations that `functional.resize` reproduces, readable without torch."""

from typing import Final, Literal, get_args

Mode = Literal["pil", "matlab"]
MODES: Final = get_args(Mode)
