"""How much a visitor may ask for, so that one cannot take the page from the others."""

import time
from typing import NamedTuple

from pkdn_lightning.errors import ConfigError, DataError


class Limits(NamedTuple):
    """What is asked of a visitor.

    Attributes:
        upload_mb: Largest file.
        megapixels: Largest image.
        faces: Most faces of a photograph; the largest are taken.
        upload_s: Longest time for an upload.
        request_s: Longest time for an image.
        keep_s: How long images and results are kept.
    """

    upload_mb: float = 20
    megapixels: float = 50
    faces: int = 24
    upload_s: float = 60
    request_s: float = 60
    keep_s: float = 600

    def check(self) -> None:
        """Checks the limits themselves.

        Raises:
            ConfigError: If one of them would leave nothing to do.
        """
        for key, value in self._asdict().items():
            if not value > 0:
                raise ConfigError(f"{key}={value}; expected more than 0.")


class Deadline:
    """The time by which a request has to be done. It is asked between two steps; none of them takes long.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds

    def check(self) -> None:
        """Checks the time.

        Raises:
            DataError: If it is over.
        """
        if time.monotonic() > self._ends:
            raise DataError(
                f"This took more than {self.seconds:g} seconds and was stopped. Try a smaller image, or one with "
                "fewer faces."
            )
