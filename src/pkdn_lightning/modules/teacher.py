"""Training the teacher: it reads the parsing map of the HR face (PKDN, section 3.1; L_T, Eq. 1)."""

from typing import Any

from pkdn_lightning.errors import ConfigError
from pkdn_lightning.modules.base import SRModule


class TeacherModule(SRModule):
    """Trains a network that reads LR faces and parsing maps.

    Args:
        *args: See `SRModule`.
        **kwargs: See `SRModule`.

    Raises:
        ConfigError: If the network reads no parsing maps.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.needs_parsing:
            raise ConfigError(
                f"module=teacher trains networks that read parsing maps; {type(self.net).__name__} does not. "
                "Use module=student, or model=pkdn_teacher."
            )

    @property
    def role(self) -> str:
        """`teacher`."""
        return "teacher"
